"""A training as lines of text: events, the status, the progress."""
