"""`oneflower up`: train on a real cluster on this machine."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from oneflower.cli.companion import Companion
from oneflower.cli.config import ContextOption, RunConfigOption
from oneflower.cli.settings_used import app_config_rows, app_row, setting_rows
from oneflower.errors import StateError
from oneflower.files import private_files, state_errors
from oneflower.flower.app_gpus import is_no_container
from oneflower.foreign_text import printable
from oneflower.journal import Entry, TrainingState, has_journal, read_patiently, reduce
from oneflower.journal.events import SettingRow, TrainingFinished
from oneflower.local_cluster.plan import Plan, make_plan
from oneflower.local_cluster.session import Outcome, Session
from oneflower.monitor.html.report import write_report
from oneflower.monitor.text.own_loop import loop_rows
from oneflower.monitor.text.progress import LiveProgress, PlainProgress
from oneflower.monitor.text.values import duration, final_rows, headline_of, metrics_text
from oneflower.output import steady_output
from oneflower.settings import Notice, Resolution, read_context, resolve
from oneflower.supervisor.further import how_to_go_further
from oneflower.words import counted

DEFAULT_STATE = Path("oneflower-state")

NodesOption = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, max=1000, help="SuperNodes; by default as many as a round needs."),
]
StateOption = Annotated[
    Path,
    typer.Option(
        metavar="DIR",
        show_default=False,
        help=f"State folder, for all files of the training; by default {DEFAULT_STATE}.",
    ),
]
AppOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder of a Flower app, instead of FL_USE_CASE."),
]


def up(  # noqa: PLR0913 - one parameter per option
    *,
    context: ContextOption = None,
    nodes: NodesOption = None,
    state: StateOption = DEFAULT_STATE,
    app: AppOption = None,
    run_config: RunConfigOption = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Set an old state aside (DIR.1, DIR.2, ...) and start from round 1."),
    ] = False,
    plain: Annotated[bool, typer.Option("--plain", help="One line per event, no live display.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only warnings and the result.")] = False,
    dashboard: Annotated[
        bool | None,
        typer.Option(
            "--dashboard/--no-dashboard",
            show_default=False,
            help="Serve the dashboard on this machine during training; by default if it is installed. "
            "The link that is printed opens it; with FL_DASHBOARD_TOKEN the page asks for that.",
        ),
    ] = None,
) -> None:
    """Run a SuperLink and SuperNodes on this machine, train, and write a report.

    An interrupted training resumes; a finished one is not run again. Ctrl-C ends every process; run the same
    command again to resume.
    """
    steady_output()
    private_files()
    console = Console()
    resolution = resolve(os.environ, read_context(context) if context else None)
    plan = make_plan(resolution, state=state, nodes=nodes, app=app, options=run_config or ())
    _print_notices(plan.notices, console, quiet=quiet)
    live = console.is_terminal and not (plain or quiet)
    progress = LiveProgress(console) if live else PlainProgress(console, quiet=quiet)
    rows = _rows(resolution, plan)
    with Companion(
        folder=plan.folder, settings=rows, page=dashboard, say=progress.say, place=plan.dashboard
    ) as companion:
        outcome = _run(plan, progress, companion, fresh=fresh)
    _print_end(plan, outcome, _history(plan, progress), console)


def _run(plan: Plan, progress: PlainProgress, companion: Companion, *, fresh: bool) -> Outcome:
    def on_event(entry: Entry) -> None:
        companion.event(entry)
        progress.event(entry)

    is_no_container(os.environ)
    session = Session(
        plan=plan,
        environ=os.environ,
        say=progress.say,
        warn=partial(progress.say, style="yellow"),
        on_event=on_event,
    )
    try:
        with progress:
            outcome = session.run(fresh=fresh)
    except BaseException:
        # A report helps most after a failure, but an error in writing it must not hide that failure.
        if session.began:
            with suppress(Exception):
                _report(plan, companion.settings, progress)
            progress.say(f"logs: {plan.folder.logs}, report so far: {plan.folder.report}", "yellow")
        raise
    if session.began or not plan.folder.report.exists():
        with state_errors(plan.folder.report):
            _report(plan, companion.settings, progress)
    return outcome


def _report(plan: Plan, rows: Sequence[SettingRow], progress: PlainProgress) -> None:
    if has_journal(plan.folder.journal):
        write_report(plan.folder.report, _history(plan, progress), rows)


def _history(plan: Plan, progress: PlainProgress) -> TrainingState:
    """Return the state that the journal tells; where it cannot be read now, the one that was followed."""
    try:
        return reduce(read_patiently(plan.folder.journal))
    except StateError as error:
        progress.say(f"warning: {error}", "yellow")
        return progress.history


def _rows(resolution: Resolution, plan: Plan) -> list[SettingRow]:
    nodes = SettingRow(variable="--nodes", value=str(plan.nodes), source="command line or minimum of clients")
    return [
        *setting_rows(resolution, plan.settings),
        nodes,
        app_row(plan.fab),
        *app_config_rows(plan.app_values),
    ]


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
    if history.own_loop is not None:
        if not outcome.trained:
            console.print(Text("Use --fresh to run the app once more."), soft_wrap=True)
        return
    wanted = plan.settings.num_rounds if plan.settings.is_set("FL_NUM_ROUNDS") else 0
    if outcome.trained or history.total < wanted:
        return
    console.print(Text(_advice(plan, outcome.finish, history.done)), soft_wrap=True)


def _advice(plan: Plan, finish: TrainingFinished | None, done: int) -> str:
    """Say how a training that has finished already is continued."""
    how = how_to_go_further(finish, finish.round if finish else done, plan.run_config())
    if finish is not None and finish.path is None:
        return f"To train more rounds, {how}; they start from round 1, because no checkpoint was kept."
    return f"{how[0].upper()}{how[1:]} to continue, or use --fresh to start from round 1."


def _summary(plan: Plan, outcome: Outcome, history: TrainingState) -> Iterable[tuple[str, str]]:
    if history.own_loop is not None:
        yield from loop_rows(history.own_loop)
        if history.restarts:
            yield "restarts", str(history.restarts)
        yield "report", str(plan.folder.report)
        return
    finish = outcome.finish
    done = finish.round if finish is not None else history.done
    yield "rounds", f"{done} of {history.total}" if history.total else "not reported by the app"
    strategy = history.strategy or "not reported by the app"
    yield "strategy", f"{strategy} with {counted(plan.nodes, 'node')}"
    if history.rounds:
        yield (
            "result",
            metrics_text(headline_of(history, history.done)) or "the app reports neither loss nor accuracy",
        )
        yield "time in rounds", duration(sum(result.seconds for result in history.rounds.values()))
    if history.left_out:
        yield (
            "left out",
            f"{counted(len(history.left_out), 'reply', 'replies')} of clients; the report says why",
        )
    if history.restarts:
        yield "restarts", str(history.restarts)
    yield from final_rows(finish)
    yield "report", str(plan.folder.report)
