"""Print the tests that failed in the last run, one a line, for `pytest @FILE` (decision 236)."""

import json
import sys
from pathlib import Path

FAILED = Path(".pytest_cache") / "v" / "cache" / "lastfailed"


def without_group(name):
    """Return the id of a test without the group that pytest-xdist writes behind it."""
    return name.rpartition("@")[0] if name.rfind("@") > name.rfind("]") else name


def main():
    names = json.loads(FAILED.read_text(encoding="utf-8")) if FAILED.exists() else {}
    if not names:
        sys.exit("no test is known to have failed: the run ended in another way")
    sys.stdout.writelines(f"{without_group(name)}\n" for name in sorted(names))


if __name__ == "__main__":
    main()
