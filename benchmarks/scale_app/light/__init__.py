"""The app of `benchmarks/scale.py`."""
