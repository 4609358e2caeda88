"""What holds for every test."""

from hypothesis import settings

# No test fails on a stopwatch: a busy machine is no defect.
settings.register_profile("no-stopwatch", deadline=None)
settings.load_profile("no-stopwatch")
