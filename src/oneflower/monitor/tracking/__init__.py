"""Trackers that people already use, fed from the journal: the training never waits for one."""
