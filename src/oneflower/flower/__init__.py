"""The only folder that imports flwr: strategies, round loop, records, control API."""
