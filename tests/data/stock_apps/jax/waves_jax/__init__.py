"""A regression in JAX by gradient descent."""
