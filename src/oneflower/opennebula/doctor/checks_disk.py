"""Check free space, and that the containers' user can read and write the folders."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from oneflower.checkpoints import CheckpointReader
from oneflower.errors import OneflowerError
from oneflower.findings import Finding, ok, problem, skipped, warning
from oneflower.opennebula.appliance.permissions import read_problem, write_problem
from oneflower.opennebula.doctor.host import NOT_CONFIGURED, Host
from oneflower.opennebula.roles import Machine

MIB = 1024 * 1024
FEW_BYTES, MANY_BYTES = 256 * MIB, 2048 * MIB
FEW_INODES, MANY_INODES = 1000, 10_000
_FREE_SPACE = "free space (`du -xh / | sort -h`, `journalctl --vacuum-size=200M`) or enlarge the disk"


def root_disk(host: Host) -> Iterator[Finding]:
    """Check the machine's own disk."""
    yield from _space("disk", host.layout.root, writable=True)


def folder_check(name: str, *, writable: bool) -> Callable[[Host], Iterator[Finding]]:
    """Return the check of one folder below /opt/flower; a dead share blocks only this check."""

    def look(host: Host) -> Iterator[Finding]:
        folder: Path = getattr(host.layout, name)
        check = f"folder-{name}"
        if name == "checkpoints" and (reason := _not_needed(host)):
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
            problems = [each for each in found if each.fix]
            yield from problems or [ok(check, "; ".join(each.found for each in found))]

    return look


def _not_needed(host: Host) -> str:
    resolution = host.facts.resolution
    if host.machine is Machine.SUPERNODE:
        return "a SuperNode writes no checkpoints"
    return "FL_CHECKPOINT_ENABLED is NO" if resolution and not resolution.settings.checkpoint_enabled else ""


def _missing(check: str, folder: Path) -> Finding:
    if os.path.lexists(folder):
        return problem(
            check, f"{folder} is not a folder", f"rename it: mv {folder} {folder}.old, then reboot"
        )
    return problem(check, f"{folder} does not exist", "configure creates it: fix what stops it, then reboot")


def _space(check: str, folder: Path, *, writable: bool) -> Iterator[Finding]:
    try:
        found = os.statvfs(folder)
    except OSError as error:
        yield _broken(check, folder, error)
        return
    if not writable:
        return
    if found.f_flag & os.ST_RDONLY:
        fix = "mount it rw; if the kernel made it read-only, see `dmesg | grep -i -e ext4 -e xfs` for errors"
        yield problem(check, f"{folder} is mounted read-only", fix)
    free, inodes = found.f_bavail * found.f_frsize, found.f_favail
    # Filesystems that create inodes on demand report 0 of 0.
    text = f"{folder}: {free / MIB:.0f} MiB free" + (f", {inodes} inodes" if found.f_files else "")
    if free < FEW_BYTES or (found.f_files and inodes < FEW_INODES):
        yield problem(check, text, _FREE_SPACE)
    elif free < MANY_BYTES or (found.f_files and inodes < MANY_INODES):
        yield warning(check, text, _FREE_SPACE)
    else:
        yield ok(check, text)
    if check == "folder-checkpoints" and (size := _newest_bytes(folder)) > free:
        text = f"the newest checkpoint has {size / MIB:.0f} MiB, but only {free / MIB:.0f} MiB are free"
        yield problem(
            check, text, f"the next checkpoint will not fit: set a lower FL_CHECKPOINT_KEEP, or {_FREE_SPACE}"
        )


def _access(host: Host, check: str, folder: Path, *, writable: bool) -> Iterator[Finding]:
    """Read and write as the containers' user, as configure does with the checkpoints."""
    uid = host.layout.uid
    if os.geteuid() not in (0, uid):
        yield skipped(check, "only root can test it as another user")
        return
    if error := read_problem(folder, uid):
        fix = (
            f"chmod -R a+rX {folder}"
            if check in ("folder-apps", "folder-data", "folder-models")
            else f"chown -R {uid}:{uid} {folder}"
        )
        yield problem(check, f"user {uid} cannot read: {error}", fix)
    elif writable and (error := write_problem(folder, uid)):
        fix = f"chown {uid}:{uid} {folder}; a share must be exported with write access for user {uid}"
        yield problem(check, f"user {uid} cannot write: {error}", fix)
    else:
        yield ok(check, f"user {uid} can {'read and write' if writable else 'read'}")


def _broken(check: str, folder: Path, error: OSError) -> Finding:
    if error.errno in (errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.EHOSTDOWN):
        fix = f"the share or disk is not available: `findmnt -T {folder}`; mount it again, then reboot"
        return problem(check, f"{folder}: {error.strerror}", fix)
    return problem(check, f"{folder}: {error.strerror}", f"findmnt -T {folder}")


def _newest_bytes(folder: Path) -> int:
    try:
        manifests = [each.manifest for each in CheckpointReader(folder).list() if each.manifest]
    except OneflowerError:
        return 0
    return manifests[-1].size_bytes if manifests else 0
