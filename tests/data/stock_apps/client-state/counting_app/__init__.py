"""Clients that count their rounds in context.state and lower the learning rate by it."""
