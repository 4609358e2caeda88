"""What the wheels of a lock take: to download, and unpacked.

    pip download --no-deps --require-hashes -r appliances/image/container-gpu.lock -d WHEELS
    python tests/supply_chain/sizes.py WHEELS

The second number is the sum of the files in the wheels, without what Python compiles of them.
"""

import sys
import zipfile
from pathlib import Path

MB = 1_000_000
LARGEST = 6


def sizes(folder):
    """Return (name, packed bytes, unpacked bytes) of each wheel, the largest first."""
    found = []
    for path in folder.glob("*.whl"):
        with zipfile.ZipFile(path) as wheel:
            unpacked = sum(entry.file_size for entry in wheel.infolist())
        found.append((path.name.split("-")[0], path.stat().st_size, unpacked))
    return sorted(found, key=lambda each: -each[2])


def table(rows):
    """Return the largest as lines of Markdown, and the sum of all."""
    yield "| wheel | to download | unpacked |"
    yield "|---|---|---|"
    for name, packed, unpacked in rows[:LARGEST]:
        yield f"| {name} | {packed / MB:,.0f} MB | {unpacked / MB:,.0f} MB |"
    packed, unpacked = (sum(row[column] for row in rows) for column in (1, 2))
    yield f"| all {len(rows)} | {packed / MB:,.0f} MB | {unpacked / MB:,.0f} MB |"


if __name__ == "__main__":
    print("\n".join(table(sizes(Path(sys.argv[1])))))  # noqa: T201 - what it is for
