"""A dense network in PyTorch."""
