"""A small classifier for federated training."""
