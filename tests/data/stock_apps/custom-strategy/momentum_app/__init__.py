"""A strategy class of the app's own, with momentum and a record of the best round."""
