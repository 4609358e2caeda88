"""Write the bundle for a bug report: one private .tar.gz, complete or absent, never over another file."""

import gzip
import io
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from oneflower.errors import StateError
from oneflower.opennebula.doctor.masking import Masker

MEMBER_BYTES: Final = 512 * 1024
BUNDLE_BYTES: Final = 20 * 1024 * 1024
"""Limit for all texts together, before compression."""

Member = tuple[str, str]
"""The name of a file in the bundle, and its text."""


def refuse_existing(path: Path) -> None:
    """Refuse a path that cannot become the bundle, before spending minutes on it.

    Raises
    ------
    StateError
        The file exists, or its folder does not.
    """
    if os.path.lexists(path):
        raise StateError(f"{path} already exists and is not overwritten: give --bundle another name")
    if not path.parent.is_dir():
        raise StateError(
            f"the folder {path.parent} does not exist: give --bundle a file in an existing folder"
        )


def write_bundle(path: Path, members: Iterable[Member], mask: Masker) -> int:
    """Write the texts, each masked and limited in size; return the file's size in bytes.

    Raises
    ------
    StateError
        The file exists or cannot be written.
    """
    refuse_existing(path)
    content = _packed(members, mask, root=path.name.removesuffix(".gz").removesuffix(".tar"))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # unlike a rename, never replaces a file
    except FileExistsError:
        raise StateError(
            f"{path} already exists and is not overwritten: give --bundle another name"
        ) from None
    except OSError as error:
        raise StateError(
            f"cannot write {path}: {error.strerror}; give --bundle a file in another folder"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
    return len(content)


def _packed(members: Iterable[Member], mask: Masker, *, root: str) -> bytes:
    """Return the archive. All texts pass through here, where they are masked."""
    packed, used, left_out = io.BytesIO(), 0, []
    # Without the time of packing and the machine's name, which do not help.
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", filename="") as compressed,
        tarfile.open(fileobj=compressed, mode="w") as archive,
    ):
        for name, text in members:
            # Masked before it is truncated: part of a secret is harder to recognize.
            content = mask(text).encode("utf-8", errors="replace")[-MEMBER_BYTES:]
            if used + len(content) > BUNDLE_BYTES:
                left_out.append(name)
                continue
            used += len(content)
            _add(archive, f"{root}/{name}", content)
        if left_out:
            _add(archive, f"{root}/left-out.txt", mask("\n".join(left_out) + "\n").encode())
    return packed.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o600
    archive.addfile(entry, io.BytesIO(content))
