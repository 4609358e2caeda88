"""Strategies, rounds and checkpoints of one training, run inside a ServerApp."""
