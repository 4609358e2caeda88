"""PEM files as Flower reads them: the private ones for one user only."""

from dataclasses import dataclass
from pathlib import Path

from oneflower.files import replace_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """PEM files: the authority that SuperNodes trust, and what the SuperLink shows and signs with."""

    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def of(cls, folder: Path) -> "Certificates":
        """Return where the three lie in a folder."""
        return cls(ca=folder / "ca.pem", certificate=folder / "superlink.pem", key=folder / "superlink.key")


def write_certificates(folder: Path, *, ca: bytes, certificate: bytes, key: bytes) -> Certificates:
    """Write three PEM files that only this user can read; OSError where that fails."""
    paths = Certificates.of(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path, content in ((paths.ca, ca), (paths.certificate, certificate), (paths.key, key)):
        write_private(path, content)
    return paths


def write_private(path: Path, content: bytes) -> None:
    """Replace a file by one of mode 0600; after a crash either the old or the new one is there."""
    replace_file(path, content, mode=0o600)
