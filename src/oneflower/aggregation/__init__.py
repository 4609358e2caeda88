"""The six aggregation rules and the checks of client updates: pure NumPy, knows no Flower."""
