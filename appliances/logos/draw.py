"""Draw oneflower.png, the logo that the marketplace shows: python3 appliances/logos/draw.py."""

import math
import struct
import zlib
from pathlib import Path

SIZE = 256
PETALS = 6
CLEAR, PETAL, CENTRE = (0, 0, 0, 0), (0, 102, 178, 255), (247, 183, 49, 255)


def pixel(x: int, y: int) -> tuple[int, int, int, int]:
    """Return the colour at a place: a centre, petals around it, nothing elsewhere."""
    dx, dy = (2 * x + 1 - SIZE) / SIZE, (2 * y + 1 - SIZE) / SIZE
    radius, angle = math.hypot(dx, dy), math.atan2(dy, dx)
    if radius < 0.24:
        return CENTRE
    return PETAL if radius < 0.55 + 0.4 * math.cos(PETALS * angle) and radius > 0.28 else CLEAR


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return one chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def main() -> None:
    """Write the file beside this one."""
    rows = (b"".join(bytes(pixel(x, y)) for x in range(SIZE)) for y in range(SIZE))
    content = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    head = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 6, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", content) + chunk(b"IEND", b"")
    Path(__file__).with_name("oneflower.png").write_bytes(png)


if __name__ == "__main__":
    main()
