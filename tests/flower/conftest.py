"""With a Flower that no cluster runs on (`make newest`) the tests of what clusters need are left out."""

from oneflower.flower.version import DEPLOYED, supported_version

if supported_version() != DEPLOYED:
    collect_ignore = [
        "launch",
        "test_another_flower.py",
        "test_control.py",
        "test_health.py",
        "test_programs.py",
        "test_reply_grid.py",
        "test_sockets.py",
        "v1_25",
    ]
