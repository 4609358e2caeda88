"""What gives any Flower app checkpoints, resume and checks, without a line of its own: the server's side."""
