"""What gives a stock Flower app checkpoints, resume and quarantine on the server, without a changed line."""
