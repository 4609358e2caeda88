"""`oneflower up`: train on a real cluster on this machine, as a context says."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from oneflower.cli.companion import Companion
from oneflower.cli.config import ContextOption
from oneflower.cli.settings_used import app_row, setting_rows
from oneflower.errors import StateError
from oneflower.files import state_errors
from oneflower.journal import Entry, TrainingState, has_journal, read_patiently, reduce
from oneflower.journal.events import SettingRow
from oneflower.local_cluster.plan import Plan, make_plan
from oneflower.local_cluster.session import Outcome, Session
from oneflower.monitor.html.report import write_report
from oneflower.monitor.text.lines import duration, final_rows, headline_of, metrics_text, printable
from oneflower.monitor.text.progress import LiveProgress, PlainProgress
from oneflower.output import steady_output
from oneflower.settings import Notice, Resolution, read_context, resolve

DEFAULT_STATE = Path("oneflower-state")

NodesOption = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, max=1000, help="SuperNodes; if not given, as many as a round waits for."
    ),
]
StateOption = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        show_default=False,
        help=f"Folder for everything that the training writes; {DEFAULT_STATE} if not given.",
    ),
]
AppOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder of a Flower app, in place of FL_USE_CASE."),
]


def up(  # noqa: PLR0913 - one parameter an option
    *,
    context: ContextOption = None,
    nodes: NodesOption = None,
    state: StateOption = DEFAULT_STATE,
    app: AppOption = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Set an old state aside (DIR.1, DIR.2, ...) and train anew.")
    ] = False,
    plain: Annotated[bool, typer.Option("--plain", help="One line an event, no live display.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only warnings and the end.")] = False,
    dashboard: Annotated[
        bool | None,
        typer.Option(
            "--dashboard/--no-dashboard",
            show_default=False,
            help="Serve the live page on this machine while it trains; if not given, where it is installed.",
        ),
    ] = None,
) -> None:
    """Start a SuperLink and SuperNodes on this machine, train, and write a report.

    A training that was killed goes on where it was; one that has finished is not run again. Ctrl-C ends every
    process; say the same again to go on.
    """
    steady_output()
    console = Console()
    resolution = resolve(os.environ, read_context(context) if context else None)
    plan = make_plan(resolution, state=state, nodes=nodes, app=app)
    _print_notices(plan.notices, console, quiet=quiet)
    live = console.is_terminal and not (plain or quiet)
    progress = LiveProgress(console) if live else PlainProgress(console, quiet=quiet)
    rows = _rows(resolution, plan)
    with Companion(folder=plan.folder, settings=rows, page=dashboard, say=progress.say) as companion:
        outcome = _run(plan, progress, companion, fresh=fresh)
    _print_end(plan, outcome, _history(plan, progress), console)


def _run(plan: Plan, progress: PlainProgress, companion: Companion, *, fresh: bool) -> Outcome:
    def on_event(entry: Entry) -> None:
        companion.event(entry)
        progress.event(entry)

    session = Session(plan=plan, environ=os.environ, say=progress.say, on_event=on_event)
    try:
        with progress:
            outcome = session.run(fresh=fresh)
    except BaseException:
        # The report of what there is helps most when something went wrong; it must not hide what did.
        if session.began:
            with suppress(Exception):
                _report(plan, companion.settings, progress)
            progress.say(f"logs: {plan.folder.logs}, what was reached: {plan.folder.report}", "yellow")
        raise
    if session.began or not plan.folder.report.exists():
        with state_errors(plan.folder.report):
            _report(plan, companion.settings, progress)
    return outcome


def _report(plan: Plan, rows: Sequence[SettingRow], progress: PlainProgress) -> None:
    if has_journal(plan.folder.journal):
        write_report(plan.folder.report, _history(plan, progress), rows)


def _history(plan: Plan, progress: PlainProgress) -> TrainingState:
    """Return what the journal tells; where it cannot be read now, what was heard of it while it trained."""
    try:
        return reduce(read_patiently(plan.folder.journal))
    except StateError as error:
        progress.say(f"warning: {error}", "yellow")
        return progress.history


def _rows(resolution: Resolution, plan: Plan) -> list[SettingRow]:
    nodes = SettingRow(variable="--nodes", value=str(plan.nodes), source="command line or minimum of clients")
    return [*setting_rows(resolution, plan.settings), nodes, app_row(plan.fab)]


def _print_notices(notices: Iterable[Notice], console: Console, *, quiet: bool) -> None:
    for notice in notices:
        warning = notice.level == "warning"
        if warning or not quiet:
            text = Text(printable(f"{notice.level}: {notice.text}"), style="yellow" if warning else "dim")
            console.print(text, soft_wrap=True)


def _print_end(plan: Plan, outcome: Outcome, history: TrainingState, console: Console) -> None:
    if not outcome.trained:
        text = f"The training in {plan.folder.root} has finished already; nothing was started."
        console.print(Text(text, style="bold"), soft_wrap=True)
    for name, value in _summary(plan, outcome, history):
        console.print(Text.assemble((f"{name:<16}", "dim"), printable(value)), soft_wrap=True)
    if outcome.trained or history.total < plan.settings.num_rounds:
        return
    further = (
        f"FL_EARLY_STOP_ROUNDS or FL_NUM_ROUNDS (now {history.total})"
        if outcome.finish is not None and outcome.finish.stopped
        else f"FL_NUM_ROUNDS above {history.done}"
    )
    advice = f"Raise {further} to go on, or say --fresh to train from round 1."
    console.print(Text(advice), soft_wrap=True)


def _summary(plan: Plan, outcome: Outcome, history: TrainingState) -> Iterable[tuple[str, str]]:
    finish = outcome.finish
    done = finish.round if finish is not None else history.done
    yield "rounds", f"{done} of {history.total}" if history.total else "not told by the app"
    yield "strategy", f"{plan.settings.strategy} with {plan.nodes} nodes"
    if history.rounds:
        yield (
            "result",
            metrics_text(headline_of(history, history.done)) or "the app measures neither loss nor accuracy",
        )
        yield "time in rounds", duration(sum(result.seconds for result in history.rounds.values()))
    if history.left_out:
        yield "left out", f"clients' answers: {len(history.left_out)}; the report says why"
    if history.restarts:
        yield "restarts", str(history.restarts)
    yield from final_rows(finish)
    yield "report", str(plan.folder.report)
