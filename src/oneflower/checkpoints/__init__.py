"""The crash-safe checkpoint store: pure, knows no Flower."""
