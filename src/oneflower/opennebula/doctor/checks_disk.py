"""Is there room, and can the containers' user do what it must with each folder."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from oneflower.checkpoints import CheckpointReader
from oneflower.errors import OneflowerError
from oneflower.findings import Finding, ok, problem, skipped, warning
from oneflower.opennebula.appliance.layout import read_trouble, write_trouble
from oneflower.opennebula.doctor.host import NOT_CONFIGURED, Host
from oneflower.opennebula.roles import Machine

MIB = 1024 * 1024
FEW_BYTES, MANY_BYTES = 256 * MIB, 2048 * MIB
FEW_INODES, MANY_INODES = 1000, 10_000
_MAKE_ROOM = "free some space (`du -xh / | sort -h`, `journalctl --vacuum-size=200M`), or enlarge the disk"


def root_disk(host: Host) -> Iterator[Finding]:
    """Look at the machine's own disk."""
    yield from _space("disk", host.layout.root, writable=True)


def folder_check(name: str, *, writable: bool) -> Callable[[Host], Iterator[Finding]]:
    """Return the check of one of /opt/flower's folders: a dead share blocks that check alone."""

    def look(host: Host) -> Iterator[Finding]:
        folder: Path = getattr(host.layout, name)
        check = f"folder-{name}"
        if name == "checkpoints" and (reason := _not_wanted(host)):
            yield skipped(check, reason)
        elif not host.is_configured():
            yield skipped(check, NOT_CONFIGURED)
        elif not folder.is_dir():
            yield _missing(check, folder)
        else:
            found = [
                *_space(check, folder, writable=writable),
                *_access(host, check, folder, writable=writable),
            ]
            troubles = [each for each in found if each.mend]
            yield from troubles or [ok(check, "; ".join(each.found for each in found))]

    return look


def _not_wanted(host: Host) -> str:
    resolution = host.learned.resolution
    if host.machine is Machine.SUPERNODE:
        return "a SuperNode writes none"
    return "FL_CHECKPOINT_ENABLED is NO" if resolution and not resolution.settings.checkpoint_enabled else ""


def _missing(check: str, folder: Path) -> Finding:
    if os.path.lexists(folder):
        return problem(
            check, f"{folder} is no folder", f"move it away: mv {folder} {folder}.old, then reboot"
        )
    return problem(check, f"{folder} is not there", "configure makes it: mend what stops it, then reboot")


def _space(check: str, folder: Path, *, writable: bool) -> Iterator[Finding]:
    try:
        found = os.statvfs(folder)
    except OSError as error:
        yield _broken(check, folder, error)
        return
    if not writable:
        return
    if found.f_flag & os.ST_RDONLY:
        mend = (
            "mount it rw; a disk that the kernel made read-only has errors: `dmesg | grep -i -e ext4 -e xfs`"
        )
        yield problem(check, f"{folder} is mounted read-only", mend)
    free, inodes = found.f_bavail * found.f_frsize, found.f_favail
    # File systems that make inodes as they need them say 0 of 0.
    text = f"{folder}: {free / MIB:.0f} MiB free" + (f", {inodes} inodes" if found.f_files else "")
    if free < FEW_BYTES or (found.f_files and inodes < FEW_INODES):
        yield problem(check, text, _MAKE_ROOM)
    elif free < MANY_BYTES or (found.f_files and inodes < MANY_INODES):
        yield warning(check, text, _MAKE_ROOM)
    else:
        yield ok(check, text)
    if check == "folder-checkpoints" and (size := _newest_bytes(folder)) > free:
        text = f"the newest checkpoint has {size / MIB:.0f} MiB, {free / MIB:.0f} MiB are free"
        yield problem(
            check, text, f"the next one will not fit: set FL_CHECKPOINT_KEEP lower, or {_MAKE_ROOM}"
        )


def _access(host: Host, check: str, folder: Path, *, writable: bool) -> Iterator[Finding]:
    """Try it as the user of the containers, by what configure itself tries the checkpoints with."""
    uid = host.layout.uid
    if os.geteuid() not in (0, uid):
        yield skipped(check, "only root can try it as another user")
        return
    if trouble := read_trouble(folder, uid):
        mend = (
            f"chmod -R a+rX {folder}"
            if check in ("folder-data", "folder-models")
            else f"chown -R {uid}:{uid} {folder}"
        )
        yield problem(check, f"user {uid} cannot read: {trouble}", mend)
    elif writable and (trouble := write_trouble(folder, uid)):
        mend = f"chown {uid}:{uid} {folder}; a share must be exported so that user {uid} may write"
        yield problem(check, f"user {uid} cannot write: {trouble}", mend)
    else:
        yield ok(check, f"user {uid} can {'read and write' if writable else 'read'}")


def _broken(check: str, folder: Path, error: OSError) -> Finding:
    if error.errno in (errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.EHOSTDOWN):
        mend = f"the share or disk is gone: `findmnt -T {folder}`; mount it again, then reboot"
        return problem(check, f"{folder}: {error.strerror}", mend)
    return problem(check, f"{folder}: {error.strerror}", f"findmnt -T {folder}")


def _newest_bytes(folder: Path) -> int:
    try:
        manifests = [each.manifest for each in CheckpointReader(folder).list() if each.manifest]
    except OneflowerError:
        return 0
    return manifests[-1].size_bytes if manifests else 0
