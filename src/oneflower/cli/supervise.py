"""`oneflower supervise`: submit an app to a SuperLink, and resubmit it when its run is lost."""

import logging
import os
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from oneflower.cli.config import ContextOption, RunConfigOption
from oneflower.cli.settings_used import app_config_rows, app_row, setting_rows, write_settings_used
from oneflower.cli.supervised_app import app_to_submit, require_no_app
from oneflower.errors import ClusterError, SettingsError, StateError, TrainingError
from oneflower.files import private_files
from oneflower.flower.control import ControlClient
from oneflower.flower.fab import Fab
from oneflower.flower.health import Stalled
from oneflower.flower.sockets import control_of
from oneflower.journal import JOURNAL_VARIABLE, Journal, Owner, close_journal, read_patiently
from oneflower.journal.events import RunSubmitted, TrainingFinished
from oneflower.local_cluster.interrupts import INTERRUPTED, Interrupts
from oneflower.local_cluster.ports import LOOPBACK
from oneflower.local_cluster.tls import check_certificates
from oneflower.monitor.text.values import ending, final_rows
from oneflower.output import steady_output
from oneflower.procfs import this_process
from oneflower.settings import (
    RESUME,
    Resolution,
    Settings,
    app_values,
    checkpoint_key,
    keys_of_texts,
    read_context,
    resolve,
    with_the_authors,
)
from oneflower.settings import (
    run_config as settings_config,
)
from oneflower.supervisor.adopted import let_go
from oneflower.supervisor.adoption import Adopter
from oneflower.supervisor.finished import finished_already
from oneflower.supervisor.job import Job, changes
from oneflower.supervisor.machine import State
from oneflower.supervisor.memory import Memory, goes_back_now, load, locked, taken_up
from oneflower.supervisor.place import Beside, Place
from oneflower.supervisor.processes import FlowerProcesses
from oneflower.supervisor.supervisor import Supervisor
from oneflower.tls import certificate_problems
from oneflower.training.initial_model import check_initial_model_of
from oneflower.training.signing import signer_with

MEMORY_NAME = "training.json"

log = logging.getLogger("oneflower.supervise")


def supervise(  # noqa: PLR0913 - one parameter per option
    *,
    context: ContextOption = None,
    app: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of a Flower app, instead of FL_USE_CASE and FL_APP."),
    ] = None,
    run_config: RunConfigOption = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            show_default=False,
            help=f"Folder of the supervisor's state; by default that of {JOURNAL_VARIABLE}.",
        ),
    ] = None,
    root_certificates: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CA certificate (PEM) of a SuperLink with TLS.")
    ] = None,
    stop_run: Annotated[
        bool, typer.Option("--stop-run", help="Stop the run when the supervisor ends.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Restart a training that was given up.")] = False,
    adopt: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Submit nothing: adopt runs of `flwr run`. DIR is the storage of the SuperLink "
            "(--storage-dir), where their bundles are.",
        ),
    ] = None,
    forget: Annotated[
        int | None,
        typer.Option(metavar="RUN", help="Let go of an adopted run: it is not resubmitted; it goes on."),
    ] = None,
) -> None:
    """Submit the app to the SuperLink at FL_CONTROL_API_ADDRESS, and resubmit it after a lost run.

    Run it under a service manager on the machine of the SuperLink. It waits for the SuperLink, keeps its
    state on disk across its own crashes, never repeats a finished training, and gives up after
    FL_MAX_RESTARTS consecutive restarts without a completed round.

    With --adopt it waits for runs that somebody submits with `flwr run`, and resubmits such a run, with
    resume, when it is lost; not after `flwr stop` or an exception of the app. `--forget RUN` lets go of one
    (exit code 2: it was not adopted).
    """
    steady_output()
    private_files()
    resolution = resolve(os.environ, read_context(context) if context else None)
    settings = resolution.settings
    _log_to_stderr(settings.log_level)
    for notice in resolution.notices:
        log.log(logging.WARNING if notice.level == "warning" else logging.INFO, "%s", notice.text)
    journal = _journal(state, settings)
    folder = state or journal.parent
    if forget is not None:
        let_go(folder, forget)
        log.log(logging.WARNING, "run %d is let go: it is not submitted again, and it is not stopped", forget)
        return
    check_certificates(settings, [LOOPBACK])
    if adopt is not None:
        require_no_app(settings, app)
        with locked(folder):
            close_journal(journal)
            _adopt(resolution, adopt, folder, journal, _control(settings, root_certificates))
        return
    fab = app_to_submit(settings, app, folder, journal)
    values = app_values(keys_of_texts(settings.app_config, run_config or ()), fab.own)
    settings = with_the_authors(settings, fab.own)
    job = Job(
        fab=fab,
        run_config={**settings_config(settings), **values},
        max_restarts=settings.max_restarts,
    )
    with locked(folder):
        close_journal(journal)
        memory = _remember(job, folder / MEMORY_NAME, journal, checkpoint_key(os.environ), again=again)
        if memory is not None:
            check_initial_model_of(settings)
            app_is_from = app_row(job.fab, "FL_USE_CASE, FL_APP or command line")
            rows = [*setting_rows(resolution, settings), app_is_from, *app_config_rows(values)]
            write_settings_used(journal, rows)
            _supervise(job, memory, folder, journal, _control(settings, root_certificates), stop_run=stop_run)


def _adopt(
    resolution: Resolution, bundles: Path, folder: Path, journal: Path, control: ControlClient
) -> None:
    """Keep alive what somebody submits, until a signal."""
    settings, written = resolution.settings, Journal(journal, owner=Owner(process=this_process()))

    def follow(job: Job, memory: Memory, file: Path, place: Place) -> Supervisor:
        return _supervisor(job, memory, file, written, place)

    def adopted(fab: Fab) -> None:
        write_settings_used(journal, [*setting_rows(resolution, settings), app_row(fab, "flwr run")])

    adopter = Adopter(
        place=_beside(control, written),
        folder=folder,
        bundles=bundles,
        run_config=settings_config(settings),
        max_restarts=settings.max_restarts,
        journal=written,
        follow=follow,
        say=log.info,
        adopted=adopted,
    )
    with control, Interrupts(at_once=True) as interrupts:
        try:
            adopter.run()
        except KeyboardInterrupt:
            log.info("ended by a signal; what was submitted continues")
            sys.exit(INTERRUPTED if interrupts.number == signal.SIGINT else 0)


def _remember(job: Job, file: Path, journal: Path, key: str, *, again: bool) -> Memory | None:
    """Return the state of an earlier supervisor, to continue from; None if the training has finished."""
    before = load(file)
    for change in changes(before, job.describe()):
        log.warning("configuration changed since the last start: %s", change)
    entries = read_patiently(journal)
    goes_back = goes_back_now(before, str(job.run_config[RESUME]))
    finished = (
        None
        if goes_back
        else finished_already(job, before, entries, say=log.warning, signer=signer_with(key, journal))
    )
    if finished is not None:
        _print_finish(finished.event, "has finished already; nothing was submitted")
        return None
    runs = [each.run for each in entries if isinstance(each.event, RunSubmitted) and each.run is not None]
    memory = taken_up(before, job.describe(), max_restarts=job.max_restarts, again=again, runs=runs)
    memory = memory.with_resume(str(job.run_config[RESUME]), goes_back=goes_back)
    if memory.machine.state is State.GIVEN_UP:
        raise TrainingError(
            f"this training was given up: {memory.machine.reason}\nIt is restarted when its configuration "
            "changes, when the machine reboots, or with `oneflower supervise --again`"
        )
    return memory


def _supervise(  # noqa: PLR0913 - the inputs of a supervisor
    job: Job, memory: Memory, folder: Path, journal: Path, control: ControlClient, *, stop_run: bool
) -> None:
    written = Journal(journal, owner=Owner(process=this_process()))
    supervisor = _supervisor(job, memory, folder / MEMORY_NAME, written, _beside(control, written))
    with control, Interrupts(at_once=True) as interrupts:
        try:
            finish = supervisor.run()
        except KeyboardInterrupt:
            log.info("ended by a signal; the run %s", "is stopped" if stop_run else "continues")
            if stop_run:
                with suppress(ClusterError):
                    supervisor.stop_run()
            # SIGTERM is how a service manager stops it, without an error; only Ctrl-C is an interruption.
            sys.exit(INTERRUPTED if interrupts.number == signal.SIGINT else 0)
        _print_finish(finish, "has finished")


def _supervisor(job: Job, memory: Memory, file: Path, journal: Journal, place: Place) -> Supervisor:
    return Supervisor(
        place=place,
        job=job,
        memory=memory,
        memory_file=file,
        journal=journal,
        on_event=lambda _event: None,
        say=log.info,
    )


def _beside(control: ControlClient, journal: Journal) -> Beside:
    def record(stalled: Stalled) -> None:
        journal.append(stalled.event)

    return Beside(control, FlowerProcesses(control.address), say=log.warning, record=record)


def _print_finish(finish: TrainingFinished | None, how: str) -> None:
    rows = "; ".join(f"{name}: {value}" for name, value in final_rows(finish))
    log.info("the training %s: %s", how, f"{ending(finish)}; {rows}" if finish else "the app reports no more")


def _journal(state: Path | None, settings: Settings) -> Path:
    """Return the journal, which the ServerApp writes too."""
    if state is not None:
        return state.absolute() / "journal.jsonl"
    named = os.environ.get(JOURNAL_VARIABLE)
    if named:
        return Path(named)
    if settings.checkpoint_enabled:
        return Path(settings.checkpoint_path) / "journal.jsonl"
    raise SettingsError(
        f"the supervisor needs a journal: set {JOURNAL_VARIABLE} to its path, for this process and for the "
        "SuperLink, or turn FL_CHECKPOINT_ENABLED on"
    )


def _control(settings: Settings, root_certificates: Path | None) -> ControlClient:
    address = control_of(settings.control_api_address, os.environ, private=settings.flower_workarounds)
    try:
        certificates = root_certificates.read_bytes() if root_certificates else None
    except OSError as error:
        raise StateError(f"cannot read {root_certificates}: {error.strerror}") from error
    if certificates is not None:
        name = f"--root-certificates {root_certificates}"
        problems = list(certificate_problems(datetime.now(UTC), ca=certificates, ca_name=name))
        if problems:
            raise SettingsError("\n".join(problems))
    return ControlClient(address, certificates, token=settings.control_token)


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("oneflower").setLevel(level)
