"""The app of benchmarks/rounds.py: one model, two round loops, and a trace of events with their times."""
