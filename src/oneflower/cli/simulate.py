"""`oneflower simulate`: train without a cluster, for experiments with many clients."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from oneflower.cli.config import ContextOption, RunConfigOption
from oneflower.files import private_files
from oneflower.flower.app_gpus import gpu_environment, is_no_container
from oneflower.flower.arguments import STATE_VARIABLE
from oneflower.foreign_text import printable
from oneflower.journal import (
    JOURNAL_VARIABLE,
    Journal,
    Owner,
    TrainingState,
    follow,
    read_patiently,
    reduce,
)
from oneflower.journal.events import TrainingInterrupted
from oneflower.local_cluster.commands import THREAD_VARIABLES, threads
from oneflower.local_cluster.gpu_check import check_gpus
from oneflower.local_cluster.interrupts import Interrupts
from oneflower.local_cluster.plan import Plan, make_plan
from oneflower.monitor.text.own_loop import loop_rows
from oneflower.monitor.text.progress import PlainProgress
from oneflower.monitor.text.values import ending, final_rows
from oneflower.output import steady_output
from oneflower.procfs import this_process
from oneflower.settings import read_context, resolve, submitted
from oneflower.supervisor.finished import finished_already
from oneflower.supervisor.job import Job
from oneflower.supervisor.memory import Finished, Memory, load
from oneflower.training.initial_model import check_initial_model_of
from oneflower.training.signing import signer_with

DEFAULT_STATE = Path("oneflower-simulation")
RAY_DECIDES = (
    "--engine ray: its workers see the GPUs that Ray gives them, by default none; --engine local uses those "
    "of FL_CUDA_VISIBLE_DEVICES"
)
# The progress lines need the last rounds only; a simulation may have many thousands.
_SHOWN_ROUNDS = 100


def simulate(  # noqa: PLR0913 - one parameter per option
    *,
    clients: Annotated[int, typer.Option(metavar="N", min=1, max=100_000, help="Clients to simulate.")],
    context: ContextOption = None,
    app: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of a Flower app, instead of FL_USE_CASE.")
    ] = None,
    run_config: RunConfigOption = None,
    state: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            show_default=False,
            help=f"State folder for journal and checkpoints; by default {DEFAULT_STATE}.",
        ),
    ] = DEFAULT_STATE,
    engine: Annotated[
        str,
        typer.Option(help="local: in this process. ray: Flower's Ray engine (extra `simulation`)."),
    ] = "local",
    ray_address: Annotated[
        str,
        typer.Option(
            "--ray-address",
            metavar="HOST:PORT",
            show_default=False,
            help="With --engine ray: a Ray cluster that runs already, whose machines run the clients.",
        ),
    ] = "",
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only warnings and the result.")] = False,
) -> None:
    """Train with simulated clients in this process, with the same settings, rounds and checkpoints.

    An interrupted simulation resumes from its newest checkpoint, as a training on a cluster does; a finished
    one is not run again.
    """
    # Imported here: other commands do not need Flower's engine.
    from oneflower.lab import simulation  # noqa: PLC0415

    steady_output()
    private_files()
    console = Console()
    simulation.check_engine(engine, ray_address)
    resolution = resolve(os.environ, read_context(context) if context else None)
    plan = make_plan(
        resolution, state=state, nodes=clients, app=app, options=run_config or (), counted_by="--clients"
    )
    plan.folder.make()
    progress = PlainProgress(console, quiet=quiet, history=TrainingState(most_rounds=_SHOWN_ROUNDS))
    for notice in resolution.notices:
        progress.say(f"{notice.level}: {notice.text}", "yellow" if notice.level == "warning" else "")
    # The progress lines replace the log, unless the operator sets a log level.
    chosen = not resolution.provenance["FL_LOG_LEVEL"].is_default
    simulation.set_log_level(resolution.settings.log_level if chosen else "WARNING")
    os.environ[JOURNAL_VARIABLE] = str(plan.folder.journal)
    os.environ["ONEFLOWER_CLIENTS"] = str(clients)
    os.environ[STATE_VARIABLE] = str(plan.folder.client_state)
    for name in THREAD_VARIABLES:  # as `up` does: their number decides the last bits of a sum
        os.environ.setdefault(name, str(threads(clients, os.cpu_count() or 1)))
    os.environ["FL_CHECKPOINT_KEY"] = resolution.settings.checkpoint_key
    with Interrupts(at_once=True), plan.folder.lock():
        job = Job(
            fab=plan.fab,
            run_config=plan.run_config(),
            max_restarts=plan.settings.max_restarts,
            nodes=clients,
        )
        finished = _finished(plan, job, progress)
        finish = None if finished is None else finished.event
        if finished is None:
            _look_for_gpus(plan, engine, progress)
            check_initial_model_of(plan.settings)
            fresh = Memory.fresh(job.describe(), max_restarts=job.max_restarts)
            fresh.save(plan.folder.training)
            with _shown(plan.folder.journal, progress):
                try:
                    simulation.simulate(
                        plan.fab,
                        clients=clients,
                        run_config=submitted(plan.run_config(), plan.fab.own),
                        home=plan.folder.flwr_home,
                        engine=engine,
                        ray_address=ray_address,
                    )
                except KeyboardInterrupt:
                    journal = Journal(plan.folder.journal, owner=Owner(process=this_process()))
                    journal.append(TrainingInterrupted())
                    raise
            reached = reduce(read_patiently(plan.folder.journal))
            if reached.finish is None and reached.loop is not None and reached.loop.finished:
                fresh.ended().save(plan.folder.training)
        history = reduce(read_patiently(plan.folder.journal))
        rows = final_rows(finish or history.finish)
        for name, value in rows if history.own_loop is None else loop_rows(history.own_loop):
            console.print(Text.assemble((f"{name:<16}", "dim"), printable(value)), soft_wrap=True)


def _finished(plan: Plan, job: Job, progress: PlainProgress) -> Finished | None:
    """Return how this simulation finished earlier; None if it did not."""
    if plan.settings.resume == "auto":
        entries = read_patiently(plan.folder.journal)
        finished = finished_already(
            job,
            load(plan.folder.training),
            entries,
            say=_warn_with(progress),
            signer=signer_with(plan.settings.checkpoint_key, plan.folder.journal),
        )
        if finished is not None:
            how = "" if finished.event is None else f": {ending(finished.event)}"
            progress.say(f"this training has finished already{how}; nothing was run", "bold")
            return finished
    return None


def _look_for_gpus(plan: Plan, engine: str, progress: PlainProgress) -> None:
    """Warn where the clients cannot use the GPUs that they should; then set the environment of their GPUs."""
    is_no_container(os.environ)
    found = check_gpus(plan.settings, os.environ)
    if not found and plan.settings.gpu_enabled and engine != "local":
        found = RAY_DECIDES
    if found:
        progress.say(f"warning: {found}", "yellow")
    os.environ.update(gpu_environment(plan.settings, os.environ))


def _warn_with(progress: PlainProgress) -> Callable[[str], None]:
    return lambda text: progress.say(text, "yellow")


@contextmanager
def _shown(journal: Path, progress: PlainProgress) -> Iterator[None]:
    """Show the journal's events while the block runs, including its last ones."""
    stop = threading.Event()

    def show() -> None:
        for event in follow(journal, stop):
            progress.event(event)

    thread = threading.Thread(target=show, name="journal", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
