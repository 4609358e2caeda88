"""The training of `peers.py` as a stock Flower app."""
