"""A linear regression in NumPy."""
