"""The tests of this folder are for its Flower alone: `make newest` runs them."""

from pathlib import Path

from oneflower.flower.version import supported_room

if supported_room() != Path(__file__).parent.name:
    collect_ignore_glob = ["test_*.py"]
