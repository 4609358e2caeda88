"""A Keras network with dropout on scikit-learn's digits."""
