"""Central differential privacy with adaptive clipping: a strategy around a strategy, and a mod."""
