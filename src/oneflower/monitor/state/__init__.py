"""What readers derive from the state of a training: standings, attendance, checkpoints, the supervisor."""
