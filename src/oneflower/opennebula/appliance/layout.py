"""The files and folders of a machine, their owners and their modes."""

import os
from dataclasses import dataclass
from pathlib import Path

from oneflower.errors import StateError
from oneflower.files import replace_file
from oneflower.opennebula.appliance.permissions import write_problem
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
        The user of the containers, who owns what they write.
    """

    root: Path = Path("/")
    uid: int = CONTAINER_UID

    @property
    def base(self) -> Path:
        """The folder of all others."""
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
        """Flower's database, installed apps and the journal."""
        return self.base / "state"

    @property
    def sockets(self) -> Path:
        """The sockets of the Control and AppIo APIs: of the containers' user, for nobody else."""
        return self.base / "sockets"

    @property
    def data(self) -> Path:
        """The operator's data, mounted read-only."""
        return self.base / "data"

    @property
    def models(self) -> Path:
        """The operator's language models, mounted read-only."""
        return self.base / "models"

    @property
    def apps(self) -> Path:
        """The operator's apps, and the wheels that they need, mounted read-only."""
        return self.base / "apps"

    @property
    def checkpoints(self) -> Path:
        """The checkpoints; may be the mount point of a disk or a share."""
        return self.base / "checkpoints"

    @property
    def journal(self) -> Path:
        """The training's journal."""
        return self.state / "journal.jsonl"

    @property
    def decoded_data(self) -> Path:
        """A SuperNode's copy of its decoded data; may be deleted at any time."""
        return self.state / "decoded-data"

    @property
    def certificates(self) -> Certificates:
        """The PEM files for TLS."""
        return Certificates.of(self.certs)

    @property
    def context(self) -> Path:
        """The part of the context that the report service needs; systemd starts it without a context."""
        return self.config / "context.sh"

    @property
    def join(self) -> Path:
        """The partition that a SuperNode was assigned."""
        return self.config / "join.json"

    @property
    def gpus(self) -> Path:
        """What the last boot found of a SuperNode's GPUs, and the arguments that its containers got."""
        return self.config / "gpus.json"

    @property
    def trusted_ca(self) -> Path:
        """The authority of the SuperLink that a SuperNode trusted first; remove it to trust another one."""
        return self.config / "superlink-ca.pem"

    @property
    def known_address(self) -> Path:
        """The address of the SuperLink that a SuperNode connected to last."""
        return self.config / "superlink-address"

    @property
    def node_key(self) -> Path:
        """The private key of a SuperNode."""
        return self.certs / "node.key"

    @property
    def published(self) -> Path:
        """The values that the last bootstrap published; absent while a stage runs and after a failed one."""
        return self.config / "standing.json"

    @property
    def token_record(self) -> Path:
        """The time since which OneGate has accepted this VM's token."""
        return self.config / "onegate.json"

    @property
    def onegate_lock(self) -> Path:
        """The lock that a process holds during a call to OneGate."""
        return self.root / "run/oneflower/onegate.lock"

    @property
    def environ(self) -> Path:
        """The environment of this boot's stages, for repeating them."""
        return self.root / "run/oneflower/environment.json"

    @property
    def not_mounted(self) -> Path:
        """The list of labelled disks that could not be mounted at this boot; mount-disks writes it."""
        return self.root / "run/oneflower/not-mounted"

    @property
    def status(self) -> Path:
        """one-apps' status of the stages."""
        return self.root / "etc/one-appliance/status"

    @property
    def service(self) -> Path:
        """Decisions of the SuperLink's stages for the containers, mounted read-only."""
        return self.base / "service"

    @property
    def parts(self) -> Path:
        """The table of partitions: which SuperNode has which."""
        return self.service / "parts.json"

    @property
    def run_config(self) -> Path:
        """The run-config of the operator's settings, for a run that somebody submits without it."""
        return self.service / "run-config.json"

    @property
    def node_keys(self) -> Path:
        """The table of pinned keys: which SuperNode's VM has which."""
        return self.service / "node-keys.json"

    @property
    def units(self) -> Path:
        """The folder of systemd's units."""
        return self.root / "etc/systemd/system"

    @property
    def started(self) -> Path:
        """Fingerprints of what each unit was started with."""
        return self.config / "started.json"

    def environment(self, container: str) -> Path:
        """Return the env-file of a container."""
        return self.config / f"{container}.env"

    def make(self, *, checkpoints: bool) -> None:
        """Create the folders with their modes and owners; change only what differs.

        Raises
        ------
        StateError
            A disk is not mounted, a folder cannot be created, or the containers' user cannot write
            checkpoints.
        """
        self._check_mounts()
        for folder, mode, owner in (
            (self.base, 0o755, 0),
            (self.config, 0o700, 0),
            (self.authority, 0o700, 0),
            (self.certs, 0o700, self.uid),
            (self.state, 0o700, self.uid),
            (self.sockets, 0o700, self.uid),
            (self.service, 0o755, 0),
        ):
            _make(folder, mode, self._owner(owner))
        for folder in (self.data, self.models, self.apps):
            # An existing folder belongs to the operator: a share may have an owner unknown to this machine.
            if not folder.is_dir():
                _make(folder, 0o755, self._owner(0))
        if checkpoints:
            self._make_checkpoints()

    def chown_to_containers(self, path: Path) -> None:
        """Make the containers' user the owner of a file or folder."""
        if _owners(path) != (self.uid, self.uid):
            os.chown(path, self.uid, self.uid)

    def write(self, path: Path, text: str) -> bool:
        """Write a private file owned by root if its content differs; return whether it did."""
        content = text.encode()
        try:
            if path.is_file() and path.read_bytes() == content and path.stat().st_mode & 0o777 == 0o600:
                return False
            write_private(path, content)
        except OSError as error:
            raise StateError(f"cannot write {path}: {error.strerror}; fix that and start again") from None
        return True

    def write_readable(self, path: Path, text: str) -> None:
        """Write a file owned by root that the containers may read; it survives a power cut."""
        try:
            replace_file(path, text.encode(), mode=0o644, umask=False)
            _sync(path.parent)
        except OSError as error:
            raise StateError(f"cannot write {path}: {error.strerror}; fix that and start again") from None

    def _check_mounts(self) -> None:
        """Refuse to write below a mount point if its disk exists but could not be mounted."""
        try:
            lines = self.not_mounted.read_text(encoding="utf-8").splitlines()
        except OSError:
            return
        for name, _, device in (line.partition(" ") for line in lines):
            folder = self.base / name
            if not folder.is_mount():
                raise StateError(
                    f"{device} has the label fl-{name} but could not be mounted on {folder}: see "
                    f"`journalctl -u oneflower-mount-disks`, repair it (`fsck {device}`) and mount it. The "
                    "stages are then repeated automatically"
                )

    def _owner(self, wanted: int) -> int:
        """Return the owner; in tests, which may not run as root, their user instead of root."""
        return wanted or os.getuid()

    def _make_checkpoints(self) -> None:
        folder = self.checkpoints
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # A share may be writable without allowing a change of owner.
            if write_problem(folder, self.uid):
                os.chown(folder, self.uid, self.uid)
        except OSError as error:
            raise self._not_writable(error.strerror or str(error)) from None
        problem = write_problem(folder, self.uid)
        if problem:
            raise self._not_writable(problem)

    def _not_writable(self, reason: str) -> StateError:
        return StateError(
            f"FL_CHECKPOINT_ENABLED is YES, but user {self.uid} cannot write to {self.checkpoints} "
            f"({reason}): make that user the owner of the folder, disk or share mounted there, or set "
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
        raise StateError(f"cannot create {folder}: {error.strerror}; fix that and start again") from None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _owners(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid
