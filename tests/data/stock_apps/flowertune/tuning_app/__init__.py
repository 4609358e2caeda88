"""Low-rank adapters of a frozen model, with a run-config of tables."""
