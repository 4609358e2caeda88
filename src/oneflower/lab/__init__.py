"""Simulation and the check of an app: one process, no cluster."""
