"""`oneflower simulate`: the same training without a cluster, for experiments with many clients."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from oneflower.cli.config import ContextOption
from oneflower.cluster.interrupts import Interrupts
from oneflower.cluster.plan import make_plan
from oneflower.journal import follow
from oneflower.monitor.progress import PlainProgress
from oneflower.output import steady_output
from oneflower.settings import read_context, resolve

DEFAULT_STATE = Path("oneflower-simulation")


def simulate(  # noqa: PLR0913 - one parameter an option
    *,
    clients: Annotated[int, typer.Option(metavar="N", min=1, max=100_000, help="Clients to simulate.")],
    context: ContextOption = None,
    app: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of a Flower app, in place of FL_USE_CASE.")
    ] = None,
    state: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            show_default=False,
            help=f"Folder for journal and checkpoints; {DEFAULT_STATE} if not given.",
        ),
    ] = DEFAULT_STATE,
    engine: Annotated[
        str,
        typer.Option(
            help="local: in this process. ray: Flower's Ray engine, which needs extra `simulation`."
        ),
    ] = "local",
    quiet: Annotated[bool, typer.Option("--quiet", help="Only warnings and the end.")] = False,
) -> None:
    """Train with simulated clients: same settings, same rounds, same checkpoints, no processes.

    A simulation that was stopped goes on from its newest checkpoint, as a training on a cluster does.
    """
    # Imported here: a command that simulates nothing need not import Flower's engine.
    from oneflower.flower import simulation  # noqa: PLC0415

    steady_output()
    console = Console()
    simulation.check_engine(engine)
    resolution = resolve(os.environ, read_context(context) if context else None)
    plan = make_plan(resolution, state=state, nodes=clients, app=app)
    plan.folder.make()
    progress = PlainProgress(console, quiet=quiet)
    for notice in resolution.notices:
        progress.say(f"{notice.level}: {notice.text}", "yellow" if notice.level == "warning" else "")
    # The progress lines say what the log says; who asks for a level gets the log as well.
    chosen = not resolution.provenance["FL_LOG_LEVEL"].is_default
    simulation.set_log_level(resolution.settings.log_level if chosen else "WARNING")
    os.environ["ONEFLOWER_JOURNAL"] = str(plan.folder.journal)
    with Interrupts(at_once=True), plan.folder.lock(), _shown(plan.folder.journal, progress):
        simulation.simulate(
            plan.fab, clients=clients, run_config=plan.run_config(), home=plan.folder.flwr_home, engine=engine
        )


@contextmanager
def _shown(journal: Path, progress: PlainProgress) -> Iterator[None]:
    """Show the journal's events while the block runs, those of its end too."""
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
