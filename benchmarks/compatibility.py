"""Train stock Flower apps of public shapes under oneflower, kill them in the middle, and compare the bytes.

    python benchmarks/compatibility.py [--only NAME...] [--engine both] [--json] [--output FILE]

Each app of `tests/data/stock_apps` is trained once without a fault and once with SIGKILL: under `simulate`
the process in round 2, which is then started again; under `up` all processes in round 2, and the ServerApp's
process alone in round 3, which `up` has to notice by itself. No file of an app is changed, and none names
oneflower.
"""

import argparse
import importlib.metadata
import json
import signal
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from stock_apps import (  # noqa: E402
    BY_NAME,
    SHAPES,
    SIMULATE,
    UP,
    Result,
    Shape,
    StockAppError,
    interrupted,
    learns,
    uninterrupted,
)

KILLS = {SIMULATE: 1, UP: 2}
PACKAGES = (
    "flwr",
    "numpy",
    "scikit-learn",
    "torch",
    "keras",
    "jax",
    "xgboost",
    "pytorch-lightning",
    "transformers",
)


@dataclass(kw_only=True)
class Outcome:
    """What one app did under one engine."""

    trains: bool = False
    equal_after_kill: bool = False
    resumed: int = 0
    differs: list[str] = field(default_factory=list)
    """Entries of the app's results.json that are not those of the training without a kill."""
    problem: str = ""


def tried(shape: Shape, engine: str, folder: Path, simulated: Result | None) -> tuple[Outcome, Result | None]:
    """Train a shape under one engine; return what it did, and its training without a kill.

    A killed cluster that ends with the bytes of a simulation needs no cluster that nobody kills beside it.
    """
    outcome, killed, whole = Outcome(), None, simulated
    try:
        killed = interrupted(shape, engine, folder / "killed")
        if whole is None or killed.kept != whole.kept or not learns(shape, killed):
            whole = uninterrupted(shape, engine, folder / "whole")
    except StockAppError as error:
        outcome.problem = str(error)
        if killed is None:
            whole = None
            with suppress(StockAppError):
                whole = uninterrupted(shape, engine, folder / "whole")
    if whole is not None:
        outcome.trains = learns(shape, whole)
        outcome.problem = outcome.problem or ("" if outcome.trains else f"its results: {whole.results}")
        if killed is not None:
            compare(outcome, whole, killed, engine)
    return outcome, whole


def compare(outcome: Outcome, whole: Result, killed: Result, engine: str) -> None:
    """Set what the killed training kept. It must have resumed, rather than trained from round 1 again."""
    outcome.resumed = killed.resumed
    same = killed.kept == whole.kept
    outcome.equal_after_kill = same and killed.resumed >= KILLS[engine]
    names = whole.results.keys() | killed.results.keys()
    outcome.differs = sorted(name for name in names if whole.results.get(name) != killed.results.get(name))
    if not same:
        outcome.problem = f"SHA-256 differ: {whole.kept} and {killed.kept}"
    elif not outcome.equal_after_kill:
        outcome.problem = f"it began with round 1 again: resumed {killed.resumed} of {KILLS[engine]} times"


def row_of(shape: Shape, engines: Iterable[str]) -> dict[str, Any]:
    """Try a shape under these engines; return its entry for --json."""
    before, outcomes, whole = shape.digest(), {}, None
    for engine in engines:
        with tempfile.TemporaryDirectory(prefix=f"compatibility-{shape.name}-") as folder:
            outcome, whole = tried(shape, engine, Path(folder), whole)
        outcomes[engine] = outcome
        words = outcome.problem or "good"
        print(
            f"{shape.name} {engine}: trains={outcome.trains} equal={outcome.equal_after_kill} {words}",
            flush=True,
        )
    return {
        "unchanged": shape.digest() == before and not shape.imports_oneflower(),
        "trains": all(each.trains for each in outcomes.values()),
        "equal_after_kill": all(each.equal_after_kill for each in outcomes.values()),
        "engines": {engine: asdict(each) for engine, each in outcomes.items()},
    }


def lost(shape: Shape, row: dict[str, Any]) -> str:
    """Return in words what a kill changed besides the model."""
    differs = sorted({name for each in row["engines"].values() for name in each["differs"]})
    words = [f"its own results: {', '.join(f'`{name}`' for name in differs)}"] if differs else []
    return "; ".join([*words, *([shape.remark] if shape.remark else [])]) or "nothing"


def page(rows: dict[str, dict[str, Any]], skipped: dict[str, str]) -> str:
    """Return docs/compatibility.md."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES if installed(name)}
    lines = [
        TEXT.format(versions=", ".join(f"{name} {version}" for name, version in versions.items())),
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
    ]
    for name, row in rows.items():
        cells = [mark(row["unchanged"])]
        for engine in (SIMULATE, UP):
            outcome = row["engines"].get(engine)
            cells += ["not tried"] * 2 if outcome is None else [mark(outcome[key]) for key in TRIED]
        shape = BY_NAME[name]
        lines.append(
            f"| `{name}` | {shape.framework} | {shape.shows} | {' | '.join(cells)} | {lost(shape, row)} |"
        )
    lines += (
        [f"\nNot tried: {'; '.join(f'{name} ({why})' for name, why in skipped.items())}."] if skipped else []
    )
    return "\n".join(lines) + "\n"


def mark(value: bool) -> str:
    """Return a cell of the table."""
    return "yes" if value else "**no**"


def installed(name: str) -> bool:
    """Whether a package is installed."""
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


TRIED = ("trains", "equal_after_kill")
COLUMNS = (
    "app",
    "framework",
    "what it shows",
    "unchanged",
    "`simulate` trains",
    "equal after kill",
    "`up` trains",
    "equal after kill",
    "not kept",
)
TEXT = """# Compatibility

<!-- Written by `python benchmarks/compatibility.py --output docs/compatibility.md`. -->

Stock Flower apps run under oneflower with no changed line. These are public shapes, written in own words;
they are in `tests/data/stock_apps`. Each was trained on three clients for the three rounds that its author
set, with `FL_CHECKPOINT_ENABLED=YES`, `FL_CHECKPOINT_INTERVAL=1` and the defaults of all other variables.

- **unchanged**: no file of the app changed, and none imports oneflower.
- **trains**: `oneflower simulate` or `oneflower up` ends with exit code 0, and the metric that the app itself
  saves improves.
- **equal after kill**: the app was killed with SIGKILL and resumed, and the SHA-256 of the final model and of
  each file that the app saves equal those of a training that nobody killed. Under `simulate` the process is
  killed in round 2 and started again. Under `up` all processes are killed in round 2 and `up` is started
  again; in round 3 the ServerApp's process is killed, and `up` submits the app again by itself. A training
  that starts from round 1 again does not count.
- **not kept**: what else of the killed training differs.

Versions: {versions}.

```sh title="Takes minutes"
python benchmarks/compatibility.py --output docs/compatibility.md
```

With every framework of the table installed, this takes about half an hour on two cores. An app whose
framework is missing is named as skipped.
"""


def main() -> None:
    """Try the apps that the command line names, and print or write what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=sorted(BY_NAME), metavar="NAME", help="these apps")
    parser.add_argument("--engine", choices=(SIMULATE, UP, "both"), default="both")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--output", type=Path, help="write the page of the documentation")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep the results; do not try an app again")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # no app outlives the benchmark
    engines = (SIMULATE, UP) if given.engine == "both" else (given.engine,)
    rows: dict[str, dict[str, Any]] = {}
    if given.keep and given.keep.exists():
        rows = json.loads(given.keep.read_text())
    skipped = {}
    for shape in SHAPES:
        if shape.name in rows or (given.only and shape.name not in given.only):
            continue
        if shape.lacks:
            skipped[shape.name] = f"not installed: {', '.join(shape.lacks)}"
            print(f"{shape.name}: skipped, {skipped[shape.name]}", flush=True)
            continue
        rows[shape.name] = row_of(shape, engines)
        if given.keep:
            given.keep.write_text(json.dumps(rows, indent=1))
    rows = {shape.name: rows[shape.name] for shape in SHAPES if shape.name in rows}
    if given.output:
        given.output.write_text(page(rows, skipped), encoding="utf-8")
    if given.json:
        print(json.dumps({"apps": rows, **({"skipped": skipped} if skipped else {})}))


if __name__ == "__main__":
    main()
