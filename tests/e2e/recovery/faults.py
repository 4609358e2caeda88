"""Faults that a seed draws before a training begins, and how each is made: the same seed draws the same."""

import contextlib
import ctypes
import errno
import os
import random
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from oneflower.flower.programs import WARM_EXECUTOR, program_of
from oneflower.procfs import PROC, command_line, parent_of, send

KILL, STOP, STOP_FOR_EVER = "killed", "stopped for 10 s", "stopped for ever"
DISK_FULL, JOURNAL_AWAY = "checkpoint disk full", "journal unreadable"
HEAD, EVERYTHING = "head", "everything"
BELOW = ("superlink", "executor", "serverapp", "supernode", "warm executor", "zygote", "child")
# The launcher's guard, which is there where no `oneflower up` looks after a SuperLink or SuperNode.
GUARD = "guard"
STOP_S, JOURNAL_S, DISK_S = 10.0, 1.0, (5.0, 12.0)
# Some faults come while the training still recovers from the one before, most in the middle of work.
IN_RECOVERY = 0.3
FIND_S = 20.0
DISK_BYTES = 2 * 1024 * 1024
RENAME_EXCHANGE, AT_FDCWD = 2, -100


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong, when, and to whom. ``place`` (0 to 1) chooses among several processes of a kind.

    ``after_round`` waits for a completed round first; ``pause_s`` comes in any case.
    """

    name: str
    after_round: bool
    pause_s: float
    target: str = ""
    place: float = 0.0
    lasts_s: float = 0.0

    def __str__(self):
        return f"{self.target} {self.name}" if self.target else f"{self.name} for {self.lasts_s:.0f} s"


def draw(rng, *, kills, stops, for_ever, disks, journals, kinds):
    """Draw so many faults of each kind, in a random order, for processes of these kinds."""
    names = [KILL] * kills + [STOP] * stops + [STOP_FOR_EVER] * for_ever
    names += [DISK_FULL] * disks + [JOURNAL_AWAY] * journals
    rng.shuffle(names)
    return [_draw_one(rng, name, kinds) for name in names]


def _draw_one(rng, name, kinds):
    # Who stops the head for ever does so with a person there, or a service manager's own watchdog.
    targets = {KILL: (HEAD, *kinds, EVERYTHING), STOP: (HEAD, *kinds), STOP_FOR_EVER: kinds}.get(name, ("",))
    lasts_s = {STOP: STOP_S, DISK_FULL: rng.uniform(*DISK_S), JOURNAL_AWAY: JOURNAL_S}.get(name, 0.0)
    after_round = rng.random() >= IN_RECOVERY
    return Fault(
        name=name,
        after_round=after_round,
        pause_s=rng.uniform(0.0, 2.0 if after_round else 6.0),
        target=rng.choice(targets),
        place=rng.random(),
        lasts_s=lasts_s,
    )


def make(fault, scene):
    """Make it; return what it hit, for the transcript."""
    if fault.name == DISK_FULL:
        return fill(scene.checkpoints, fault.lasts_s)
    if fault.name == JOURNAL_AWAY:
        return hide(scene.journal, fault.lasts_s)
    if fault.target == EVERYTHING:
        return f"{scene.kill_all()} processes"
    victim = choose(scene, fault.target, fault.place)
    kind = kind_of(victim.pid, scene)
    told = "" if kind == fault.target else f"none runs, a {kind} instead: "
    told += f"pid {victim.pid} of {role_of(victim.pid) or scene.head}"
    send(victim, signal.SIGKILL if fault.name == KILL else signal.SIGSTOP)
    if fault.name == STOP:
        time.sleep(fault.lasts_s)
        if not send(victim, signal.SIGCONT):
            told += ", which was ended meanwhile"
    return told


def choose(scene, target, place):
    """Return one running process of a kind: a short-lived one is waited for, then any other is as good."""
    deadline = time.monotonic() + FIND_S
    while True:
        running = sorted(scene.running(), key=lambda each: each.pid)
        found = [each for each in running if kind_of(each.pid, scene) == target]
        if time.monotonic() > deadline:
            found = found or running
        if found:
            return found[int(place * len(found))]
        time.sleep(0.02)


def kind_of(pid, scene):
    """Return what a process of a scene is; empty for what is none of the kinds."""
    head = scene.kept[scene.head].process
    if head and pid == head.pid:
        return HEAD
    command = command_line(pid)
    if "oneflower.flower.v1_25.warm.zygote" in command:
        forked = "oneflower.flower.v1_25.warm.zygote" in command_line(parent_of(pid) or 0)
        return "child" if forked else "zygote"
    if "oneflower.flower.guard" in command:
        return GUARD
    if program_of(command) == WARM_EXECUTOR:
        return "warm executor"
    program = program_of(command)
    if program == "superexec":
        return "executor" if role_of(pid) in ("superlink", "superexec") else "warm executor"
    return "child" if program == "clientapp" else program or ""


def role_of(pid):
    """Return the role that a process was started for, or below: each has a FLWR_HOME of its own."""
    with contextlib.suppress(OSError):
        for entry in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
            if entry.startswith(b"FLWR_HOME="):
                return Path(os.fsdecode(entry)).name
    return ""


def stopped(scene):
    """List the processes of a scene that a SIGSTOP holds."""
    return [each for each in scene.running() if _state(each.pid) == "T"]


def _state(pid):
    with contextlib.suppress(OSError):
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    return ""


# --- disks and files ----------------------------------------------------------------------------------


def can_mount():
    return os.geteuid() == 0


@contextlib.contextmanager
def small_disk(folder):
    """Put a disk of two megabytes there, while the body runs; nothing without the right to."""
    folder.mkdir(parents=True, exist_ok=True)
    if not can_mount():
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "campaign", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder, seconds):
    """Leave no byte free for so long, also where old checkpoints go meanwhile; then free it all."""
    filler, written = folder / ".filler", 0
    end = time.monotonic() + seconds
    try:
        with filler.open("wb", buffering=0) as file:
            while time.monotonic() < end:
                written += _fill_up(file)
                time.sleep(0.02)
    finally:
        filler.unlink()
    return f"{written} bytes were put there"


def _fill_up(file):
    written = 0
    for size in (65536, 4096, 1):
        try:
            while True:
                written += file.write(bytes(size))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return written


def hide(journal, seconds):
    """Put a folder in the journal's place for so long: nobody can read or write it, root neither."""
    away = journal.with_name("journal.away")
    away.mkdir(exist_ok=True)
    try:
        swap(journal, away)
    except FileNotFoundError:
        return "there was none yet"
    time.sleep(seconds)
    swap(journal, away)
    away.rmdir()
    return f"{seconds:.0f} s"


def swap(one, other):
    """Exchange two names in one step, so that nobody finds neither."""
    libc = ctypes.CDLL(None, use_errno=True)
    given = (AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE)
    if libc.renameat2(*given) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one))


def seeded(*parts):
    """Return a generator for one training: the same for the same parts, whatever ran before it."""
    return random.Random("/".join(map(str, parts)))
