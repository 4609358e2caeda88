"""The curves and bars of a training as SVG."""
