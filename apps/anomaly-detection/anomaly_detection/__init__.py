"""Anomaly detection: an autoencoder on rows of sensor values, with federated standardisation."""
