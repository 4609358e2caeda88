"""A strategy that overrides start to save every round and the best model."""
