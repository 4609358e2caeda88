"""`oneflower checkpoints`: list, verify, compare, export, prune and roll back checkpoints."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from oneflower.checkpoints import (
    HISTORY,
    CheckpointStore,
    KeepEvery,
    KeepUnion,
    Retention,
    compare,
    retention_of,
    sign_folder,
)
from oneflower.cli.checkpoint_export import export
from oneflower.cli.checkpoint_options import (
    FolderArgument,
    FolderOption,
    JsonOption,
    RoundArgument,
    reader_of,
)
from oneflower.cli.checkpoint_text import cells_of, field_text, number_text, print_json, rows_of, verify_round
from oneflower.cli.recordings import none_in, recording_in, recording_words, verify_recording
from oneflower.cli.sources import DEFAULT_CHECKPOINTS, checkpoint_folder, signer
from oneflower.cli.tables import print_table
from oneflower.errors import CheckpointError, ForeignError, SettingsError
from oneflower.foreign_text import printable
from oneflower.words import are, counted, were

app = typer.Typer(
    help="List, verify, compare, export and roll back the checkpoints of a training.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_MOST_ROWS: Final = 1000
_UNCHECKED: Final = (
    "The checkpoints are signed; only FL_CHECKPOINT_KEY, which is not set, can check that they are yours."
)


@app.command("list")
def list_rounds(
    where: FolderArgument = None,
    *,
    path: FolderOption = DEFAULT_CHECKPOINTS,
    as_json: JsonOption = False,
    verified: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Verify checksums, which reads every file.")
    ] = True,
) -> None:
    """List the committed rounds: size, metrics, and whether their checksums verify."""
    path = checkpoint_folder(where, path)
    reader = reader_of(path)
    rows = rows_of(reader, verified=verified)
    aside = reader.set_aside()
    if as_json:
        recording = recording_in(path)
        print_json(
            {
                "path": str(path),
                "rounds": rows,
                "set_aside": aside,
                "recording": None if recording is None else str(recording),
            }
        )
        return
    if not rows:
        sys.stdout.write(f"{none_in(path)}\n")
    else:
        columns = ("round", "saved", "size", "strategy", "metrics", "verified")
        print_table(columns, [cells_of(row) for row in rows[-_MOST_ROWS:]])
        if any(row["signature_checked"] is False for row in rows):
            sys.stdout.write(f"{_UNCHECKED}\n")
        if len(rows) > _MOST_ROWS:
            sys.stdout.write(f"{len(rows) - _MOST_ROWS} older rounds are not shown; --json lists all.\n")
    if aside:
        sys.stdout.write(
            f"{counted(len(aside), 'file')} {were(len(aside))} set aside and {are(len(aside))} not used: "
            f"{_listed(aside)}\n"
        )
    if rows and (words := recording_words(path)):
        sys.stdout.write(f"{words[:1].upper()}{words[1:]}.\n")


def _listed(names: Sequence[str]) -> str:
    """Return the first names: of a folder that others can write there may be any number."""
    more = len(names) - _MOST_ROWS
    return printable(", ".join(names[:_MOST_ROWS])) + (f" and {more} more" if more > 0 else "")


@app.command()
def show(
    number: RoundArgument,
    where: FolderArgument = None,
    *,
    path: FolderOption = DEFAULT_CHECKPOINTS,
    as_json: JsonOption = False,
) -> None:
    """Verify a round and show its manifest."""
    content = dict(reader_of(checkpoint_folder(where, path)).verify(number).content)
    if as_json:
        print_json(content)
        return
    arrays = content.pop("arrays")
    state = content.pop("state_arrays")
    print_table(("field", "value"), [(key, field_text(value)) for key, value in content.items()])
    sys.stdout.write("\n")
    rows = [("model", each) for each in arrays] + [("state", each) for each in state]
    print_table(
        ("part", "array", "shape", "dtype"),
        [
            (part, each["name"], "x".join(map(str, each["shape"])) or "number", each["dtype"])
            for part, each in rows
        ],
    )


@app.command()
def verify(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ROUND] [PATH]",
            show_default=False,
            help="Round, by default all; checkpoint folder, or state folder of a training.",
        ),
    ] = None,
    *,
    path: FolderOption = DEFAULT_CHECKPOINTS,
) -> None:
    """Verify the checksums of one round or all, and of a recording.

    Exit code 3 if anything is damaged, or not signed.
    """
    number, where = _round_and_folder(what or [])
    path = checkpoint_folder(where, path)
    reader = reader_of(path)
    rounds = reader.rounds() if number is None else (number,)
    if not rounds and recording_in(path) is None:
        sys.stdout.write(f"{none_in(path)}\n")
    found = {each: verify_round(reader, each, required=number is not None) for each in rounds}
    sys.stdout.writelines(f"round {each}: {printable(result.text)}\n" for each, result in found.items())
    foreign = [str(each) for each, result in found.items() if result.foreign]
    damaged = [str(each) for each, result in found.items() if result.model_damaged]
    if foreign and not damaged:
        raise ForeignError(
            f"{len(foreign)} of {len(found)} checkpoints in {path} are not signed with this key: "
            f"round {', '.join(foreign)}. No training starts from them; each line above says what to do."
        )
    if damaged:
        raise CheckpointError(
            f"{len(damaged)} of {len(found)} checkpoints in {path} are damaged: round {', '.join(damaged)}. "
            "A training skips them; restore their files from a copy to use them."
        )
    if any(result.unchecked for result in found.values()):
        sys.stdout.write(f"{_UNCHECKED}\n")
    lacking = [str(each) for each, result in found.items() if result.metrics_damaged]
    if lacking:
        raise CheckpointError(
            f"the metrics so far of {len(lacking)} of {len(found)} checkpoints in {path} are damaged: round "
            f"{', '.join(lacking)}. The models are good, and a training resumes from them without those "
            f"metrics; restore {HISTORY} from a copy to recover them."
        )
    if number is None:
        verify_recording(path)


@app.command()
def diff(
    first: Annotated[int, typer.Argument(metavar="A", min=0)],
    second: Annotated[int, typer.Argument(metavar="B", min=0)],
    where: FolderArgument = None,
    *,
    path: FolderOption = DEFAULT_CHECKPOINTS,
    as_json: JsonOption = False,
) -> None:
    """Compare the models of two rounds: largest and mean absolute change of each array."""
    reader = reader_of(checkpoint_folder(where, path))
    changes = compare(reader.load(first).arrays, reader.load(second).arrays)
    if as_json:
        rows = [{"name": c.name, "largest": c.largest, "mean": c.mean, "note": c.note} for c in changes]
        print_json({"from": first, "to": second, "arrays": rows})
        return
    print_table(
        ("array", "largest change", "mean change", "note"),
        [(c.name, number_text(c.largest), number_text(c.mean), c.note) for c in changes],
    )


@app.command()
def prune(
    where: FolderArgument = None,
    *,
    path: FolderOption = DEFAULT_CHECKPOINTS,
    keep: Annotated[
        int, typer.Option(min=0, envvar="FL_CHECKPOINT_KEEP", help="Newest rounds to keep; 0 keeps all.")
    ] = 3,
    every: Annotated[int, typer.Option(min=0, help="Also keep every M-th round; 0 for none.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the rounds to delete.")] = False,
) -> None:
    """Delete old checkpoints. The newest intact one, the best and damaged ones are always kept."""
    path = checkpoint_folder(where, path)
    reader_of(path)
    policy: Retention = retention_of(keep)
    if every:
        policy = KeepUnion((policy, KeepEvery(every)))
    if dry_run:
        rounds = CheckpointStore(path, signer=signer(path)).prune(policy, dry_run=True)
    else:
        with CheckpointStore(path, signer=signer(path)) as store:
            rounds = store.prune(policy)
    listed = ", ".join(map(str, rounds)) or "none"
    sys.stdout.write(f"{'Would remove' if dry_run else 'Removed'} rounds: {listed}\n")


app.command()(export)


@app.command()
def rollback(
    number: RoundArgument, where: FolderArgument = None, *, path: FolderOption = DEFAULT_CHECKPOINTS
) -> None:
    """Set later rounds aside, so that the next run resumes from this round."""
    path = checkpoint_folder(where, path)
    reader_of(path)
    with CheckpointStore(path, signer=signer(path)) as store:
        later = store.rollback(number)
    listed = ", ".join(map(str, later)) or "none"
    sys.stdout.write(f"The next run resumes at round {number}. Rounds set aside: {listed}\n")


@app.command("sign")
def sign_rounds(where: FolderArgument = None, *, path: FolderOption = DEFAULT_CHECKPOINTS) -> None:
    """Sign the rounds of a folder with FL_CHECKPOINT_KEY, which is read from the environment.

    What is in the folder now is taken for yours: compare its SHA-256 first. Rounds that are damaged are left
    as they are.
    """
    path = checkpoint_folder(where, path)
    reader_of(path)
    key = signer(path)
    if key is None:
        raise SettingsError(
            "there is no key to sign with: expected FL_CHECKPOINT_KEY in the environment. Run "
            "`openssl rand -hex 32`, keep what it prints, and export that as FL_CHECKPOINT_KEY"
        )
    with CheckpointStore(path) as store:
        done = sign_folder(store, key)
    if not done:
        sys.stdout.write(f"{none_in(path)}\n")
    sys.stdout.writelines(f"round {number}: {printable(what)}\n" for number, what in done.items())
    if any(what.startswith("not") for what in done.values()):
        raise CheckpointError(f"some checkpoints in {path} are damaged and were not signed")


def _round_and_folder(given: list[str]) -> tuple[int | None, Path | None]:
    """Return the round and the folder of ``[ROUND] [PATH]``, either of which may be missing."""
    rounds = [int(each) for each in given if each.isdecimal()]
    folders = [Path(each) for each in given if not each.isdecimal()]
    if len(rounds) > 1 or len(folders) > 1:
        raise SettingsError(f"{' '.join(given)}: expected at most one round and one folder")
    return next(iter(rounds), None), next(iter(folders), None)
