"""The facts about a disk image in its marketplace entry: address, size and checksums."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from oneflower.errors import SettingsError

# The header of qcow2: magic number at offset 0, size of the virtual disk at 24, both big-endian.
_MAGIC = b"QFI\xfb"
_SIZE = slice(24, 32)
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedImage:
    """A qcow2 file to download; ``size_bytes`` is the size of the virtual disk, not of the file."""

    name: str
    url: str
    size_bytes: int
    md5: str
    sha256: str


def describe(path: Path, url: str) -> PublishedImage:
    """Read a qcow2 file.

    Raises
    ------
    SettingsError
        The file cannot be read or is not qcow2, or the address is not a URL.
    """
    if not url.startswith(("http://", "https://")) or not url.isprintable() or " " in url:
        raise SettingsError(f"--url is {url!r}: expected a URL that begins with https:// or http://")
    # The marketplace also asks for MD5; nothing relies on it.
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    try:
        with path.open("rb") as file:
            head = file.read(_SIZE.stop)
            file.seek(0)
            while chunk := file.read(_CHUNK_BYTES):
                md5.update(chunk)
                sha256.update(chunk)
    except OSError as error:
        raise SettingsError(
            f"--image {str(path)!r} cannot be read ({error.strerror}): expected a qcow2 file; check the path"
        ) from None
    if not head.startswith(_MAGIC) or len(head) < _SIZE.stop:
        raise SettingsError(
            f"--image {str(path)!r} is not a qcow2 file: expected the output of Packer; check the path"
        )
    return PublishedImage(
        name=path.stem,
        url=url,
        size_bytes=int.from_bytes(head[_SIZE], "big"),
        md5=md5.hexdigest(),
        sha256=sha256.hexdigest(),
    )
