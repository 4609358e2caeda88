"""What lies where on a machine, and who may read it."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from oneflower.errors import StateError
from oneflower.files import replace_file
from oneflower.opennebula.roles import CONTAINER_UID
from oneflower.tls import Certificates, write_private


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of a machine.

    Attributes
    ----------
    root
        ``/`` on a machine.
    uid
        The user that the containers run as; it owns what they write.
    """

    root: Path = Path("/")
    uid: int = CONTAINER_UID

    @property
    def base(self) -> Path:
        """The folder of all the others."""
        return self.root / "opt/flower"

    @property
    def config(self) -> Path:
        """Settings and secrets of the machine; never mounted into a container."""
        return self.base / "config"

    @property
    def authority(self) -> Path:
        """The key that signs certificates; never mounted into a container."""
        return self.config / "authority"

    @property
    def certs(self) -> Path:
        """What the containers need for TLS, mounted read-only."""
        return self.base / "certs"

    @property
    def state(self) -> Path:
        """Flower's database, installed apps, and the journal."""
        return self.base / "state"

    @property
    def data(self) -> Path:
        """The operator's data, mounted read-only."""
        return self.base / "data"

    @property
    def models(self) -> Path:
        """The operator's language models, mounted read-only."""
        return self.base / "models"

    @property
    def checkpoints(self) -> Path:
        """The checkpoints; a disk or a share may be mounted here."""
        return self.base / "checkpoints"

    @property
    def journal(self) -> Path:
        """The training's journal."""
        return self.state / "journal.jsonl"

    @property
    def certificates(self) -> Certificates:
        """The PEM files in the folder of certificates."""
        return Certificates.of(self.certs)

    @property
    def context(self) -> Path:
        """What the report needs of the context, which systemd starts without one."""
        return self.config / "context.sh"

    @property
    def join(self) -> Path:
        """Which SuperLink and which part of the data a SuperNode was given."""
        return self.config / "join.json"

    @property
    def standing(self) -> Path:
        """What the last bootstrap has published; absent while a stage runs, and after one that failed."""
        return self.config / "standing.json"

    @property
    def proof(self) -> Path:
        """Since when OneGate has accepted the token of this VM."""
        return self.config / "onegate.json"

    @property
    def turn(self) -> Path:
        """The lock of whoever speaks to OneGate."""
        return self.root / "run/oneflower/onegate.lock"

    @property
    def environ(self) -> Path:
        """The environment of the stages of this boot, for those that are run again."""
        return self.root / "run/oneflower/environment.json"

    @property
    def not_mounted(self) -> Path:
        """The labelled disks that this boot could not mount, one a line: folder and device (mount-disks)."""
        return self.root / "run/oneflower/not-mounted"

    @property
    def status(self) -> Path:
        """Where one-apps keeps how far the stages came."""
        return self.root / "etc/one-appliance/status"

    @property
    def service(self) -> Path:
        """What root decides for the service, mounted read-only on a SuperLink."""
        return self.base / "service"

    @property
    def parts(self) -> Path:
        """Which SuperNode has which part of the data."""
        return self.service / "parts.json"

    @property
    def units(self) -> Path:
        """Where systemd reads units from."""
        return self.root / "etc/systemd/system"

    @property
    def started(self) -> Path:
        """What each unit was started with."""
        return self.config / "started.json"

    def environment(self, container: str) -> Path:
        """Return the variables of a container."""
        return self.config / f"{container}.env"

    def make(self, *, checkpoints: bool) -> None:
        """Make the folders, with their modes and owners; what is right is left alone.

        Raises
        ------
        StateError
            A disk of the machine is not mounted, a folder cannot be made, or the checkpoints cannot be
            written by the containers' user.
        """
        self._check_mounts()
        for folder, mode, owner in (
            (self.base, 0o755, 0),
            (self.config, 0o700, 0),
            (self.authority, 0o700, 0),
            (self.certs, 0o700, self.uid),
            (self.state, 0o700, self.uid),
            (self.service, 0o755, 0),
        ):
            _make(folder, mode, self._owner(owner))
        for folder in (self.data, self.models):
            # What is there is the operator's: a share may belong to nobody that this machine knows.
            if not folder.is_dir():
                _make(folder, 0o755, self._owner(0))
        if checkpoints:
            self._make_checkpoints()

    def give(self, path: Path) -> None:
        """Give a file or folder to the containers' user."""
        if _owners(path) != (self.uid, self.uid):
            os.chown(path, self.uid, self.uid)

    def write(self, path: Path, text: str) -> bool:
        """Write a private file of root's where its content differs; tell whether it did."""
        content = text.encode()
        try:
            if path.is_file() and path.read_bytes() == content and path.stat().st_mode & 0o777 == 0o600:
                return False
            write_private(path, content)
        except OSError as error:
            raise StateError(f"cannot write {path}: {error.strerror}; mend that and start again") from None
        return True

    def share(self, path: Path, text: str) -> None:
        """Write a file of root's that the containers may read; a power cut after it does not undo it."""
        try:
            replace_file(path, text.encode(), mode=0o644, umask=False)
            _sync(path.parent)
        except OSError as error:
            raise StateError(f"cannot write {path}: {error.strerror}; mend that and start again") from None

    def _check_mounts(self) -> None:
        """Refuse to write below a mount point whose disk is there and could not be mounted."""
        try:
            lines = self.not_mounted.read_text(encoding="utf-8").splitlines()
        except OSError:
            return
        for name, _, device in (line.partition(" ") for line in lines):
            folder = self.base / name
            if not folder.is_mount():
                raise StateError(
                    f"{device} is labelled fl-{name} and could not be mounted on {folder}: look at "
                    f"`journalctl -u oneflower-mount-disks`, repair it (`fsck {device}`), mount it. The "
                    "stages then run again by themselves"
                )

    def _owner(self, wanted: int) -> int:
        """Return root for what is root's, and on a layout of tests whoever runs them."""
        return wanted or os.getuid()

    def _make_checkpoints(self) -> None:
        folder = self.checkpoints
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # A share may refuse to change owners, and still be writable.
            if write_trouble(folder, self.uid):
                os.chown(folder, self.uid, self.uid)
        except OSError as error:
            raise self._not_writable(error.strerror or str(error)) from None
        trouble = write_trouble(folder, self.uid)
        if trouble:
            raise self._not_writable(trouble)

    def _not_writable(self, reason: str) -> StateError:
        return StateError(
            f"FL_CHECKPOINT_ENABLED is YES, and {self.checkpoints} cannot be written by user {self.uid} "
            f"({reason}): give that user the folder, disk or share that is mounted there, or set "
            "FL_CHECKPOINT_ENABLED=NO"
        )


def _make(folder: Path, mode: int, owner: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o777 != mode:
            folder.chmod(mode)
        if _owners(folder) != (owner, owner):
            os.chown(folder, owner, owner)
    except OSError as error:
        raise StateError(f"cannot make {folder}: {error.strerror}; mend that and start again") from None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _owners(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid


def write_trouble(folder: Path, uid: int) -> str:
    """Create and remove a file as the user that will write there; root could write almost anywhere.

    Returns
    -------
    str
        What the system says against it; empty where it works.
    """
    trial = str(folder / f".trial.{os.getpid()}")
    for program in ("/usr/bin/touch", "/usr/bin/rm"):
        done = _run_as(uid, program, "--", trial)
        if done.returncode:
            return done.stderr.strip() or f"{program} failed"
    return ""


def read_trouble(folder: Path, uid: int) -> str:
    """Look for what a user cannot read in a folder and the two levels below; empty where there is nothing."""
    words = ("-maxdepth", "3", "!", "-readable", "-print", "-quit")
    done = _run_as(uid, "/usr/bin/find", str(folder), *words)
    if done.stdout.strip():
        return f"{done.stdout.strip()} is not readable"
    return done.stderr.strip() if done.returncode else ""


def _run_as(uid: int, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, user=uid, group=uid, extra_groups=[], capture_output=True, text=True, check=False
    )
