"""A small classifier, trained where the data are."""
