"""Client mods: one of the app's own, one of Flower's, and local differential privacy."""
