"""What is kept of a run that somebody else submitted: its bundle and its run-config, on disk."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from oneflower.errors import SettingsError
from oneflower.files import read_bytes, read_json, replace_file, state_errors, write_json
from oneflower.flower.fab import Fab, declared_keys_of
from oneflower.flower.fab_file import MOST_BYTES, repacked_fab
from oneflower.settings import with_the_authors_of
from oneflower.supervisor.memory import load

KEPT_NAME: Final = "adopted.json"
BUNDLE_NAME: Final = "adopted.fab"
MEMORY_NAME: Final = "adopted-training.json"
LET_GO_NAME: Final = "let-go.json"
SCHEMA: Final = 1
MOST_SETTLED: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """A run that is kept alive, as it was submitted."""

    run: int
    bundle: bytes
    override: Mapping[str, bool | int | float | str]

    def fab(self) -> Fab:
        """Return the app with oneflower's keys declared, under its own id and version.

        The run-config that was given with it has become its own defaults.
        """
        return repacked_fab(self.bundle, f"the bundle of run {self.run}", self.override)

    def run_config(self, operator: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that the run trains with: what the operator set, else the run's own.

        The first run, which was submitted without them, gets the same (`flower/operator_config.py`).
        """
        return with_the_authors_of(operator, {**declared_keys_of(self.bundle), **self.override})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Who is kept alive, and which runs are settled: they ended, were given up, or were let go.

    ``current`` is None while nobody is.
    """

    current: Adopted | None = None
    settled: tuple[int, ...] = ()

    def settle(self, runs: Iterable[int]) -> "Ledger":
        """Return the ledger after the end of the current one, and of the runs that were submitted for it."""
        known = dict.fromkeys([*self.settled, *runs])
        return replace(self, current=None, settled=tuple(known)[-MOST_SETTLED:])


def keep(folder: Path, ledger: Ledger) -> None:
    """Write the ledger; a crash leaves the old one or the new one."""
    current = ledger.current
    content: dict[str, Any] = {"v": SCHEMA, "settled": list(ledger.settled)}
    if current is not None:
        with state_errors(folder):
            replace_file(folder / BUNDLE_NAME, current.bundle, mode=0o600)
        sha256 = hashlib.sha256(current.bundle).hexdigest()
        content |= {"run": current.run, "bundle": sha256, "override": dict(current.override)}
    write_json(folder / KEPT_NAME, content)


def kept(folder: Path) -> Ledger:
    """Read the ledger; one whose bundle is gone or damaged keeps nobody alive."""
    found = read_json(folder / KEPT_NAME)
    settled, run, override = found.get("settled"), found.get("run"), found.get("override")
    runs = tuple(each for each in settled if isinstance(each, int)) if isinstance(settled, list) else ()
    if not isinstance(run, int) or not isinstance(override, dict):
        return Ledger(settled=runs)
    try:
        bundle = read_bytes(folder / BUNDLE_NAME, MOST_BYTES, follow=False)
    except OSError:
        return Ledger(settled=runs)
    if hashlib.sha256(bundle).hexdigest() != found.get("bundle"):
        return Ledger(settled=runs)
    return Ledger(current=Adopted(run=run, bundle=bundle, override=override), settled=runs)


def runs_of(folder: Path, current: Adopted) -> set[int]:
    """Return the run that was adopted, and those that were submitted for it since."""
    memory = load(folder / MEMORY_NAME)
    own = (memory.machine.run, *memory.runs) if memory is not None else ()
    return {current.run, *(run for run in own if run is not None)}


def let_go(folder: Path, run: int) -> None:
    """Ask the supervisor of a folder, or the next one, to keep a run alive no longer; the run goes on.

    Raises
    ------
    SettingsError
        It is not the run that is kept alive.
    StateError
        The folder cannot be written.
    """
    current = kept(folder).current
    runs = runs_of(folder, current) if current is not None else set[int]()
    if run not in runs:
        listed = " or ".join(map(str, sorted(runs))) or "none"
        raise SettingsError(
            f"run {run} is not one that the supervisor of {folder} keeps alive: expected {listed}. "
            "`flwr ls` lists all runs"
        )
    write_json(folder / LET_GO_NAME, {"v": SCHEMA, "runs": sorted(runs)})


def is_let_go(folder: Path, runs: Collection[int]) -> bool:
    """Whether somebody has asked to let one of these runs go."""
    asked = read_json(folder / LET_GO_NAME).get("runs")
    return isinstance(asked, list) and any(run in runs for run in asked)


def forget_request(folder: Path) -> None:
    """Remove a request that was carried out."""
    with suppress(OSError):
        (folder / LET_GO_NAME).unlink(missing_ok=True)
