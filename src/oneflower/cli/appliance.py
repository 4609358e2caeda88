"""`oneflower appliance`: the stages of a virtual machine on OpenNebula."""

import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

import typer

from oneflower.cli.doctor import doctor
from oneflower.errors import ClusterError, OneflowerError, TrainingError
from oneflower.opennebula.appliance.again import again as run_again
from oneflower.opennebula.appliance.again import (
    call_off,
    keep_environment,
    kept_environment,
    schedule,
)
from oneflower.opennebula.appliance.bootstrap import bootstrap as run_bootstrap
from oneflower.opennebula.appliance.configure import configure as run_configure
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.appliance.report import report as run_report
from oneflower.opennebula.appliance.stage import Stage, may_pass
from oneflower.opennebula.appliance.systemd import UnitEndedError
from oneflower.opennebula.onegate import OneGate, OneGateError, Waiting, access_from
from oneflower.opennebula.roles import Machine
from oneflower.settings import read_context

app = typer.Typer(
    help="The stages of a virtual machine on OpenNebula; one-apps calls them at every boot.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
LONGEST_START_S = 30.0
RoleOption = Annotated[Machine, typer.Option(help="What this machine is.", show_default=False)]


@app.command()
def configure(*, role: RoleOption) -> None:
    """Check the whole context, and write folders, certificates and units. Starts nothing."""
    with _stage(role) as stage:
        call_off(stage)
        _run(stage, run_configure)


@app.command()
def bootstrap(*, role: RoleOption) -> None:
    """Start the services and wait until they are healthy; only then publish READY=YES."""
    with _stage(role) as stage:
        _run(stage, run_bootstrap)


@app.command()
def again(*, role: RoleOption) -> None:
    """Run both stages of this boot again; flower-again.service does so after a failure that may pass."""
    time.sleep(LONGEST_START_S * random.random())  # noqa: S311 - machines that failed together return apart
    with _stage(role, kept_environment(Layout())) as stage:
        try:
            run_again(stage, (run_configure, run_bootstrap))
        except (OneGateError, UnitEndedError) as error:
            if may_pass(error):
                raise
            raise TrainingError(str(error)) from None


@app.command()
def report(*, role: RoleOption) -> None:
    """Follow the machine and tell OneGate, until stopped."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    # What cannot be told now is told with what is true later: one try a call.
    with _stage(role, read_context(Layout().context), Waiting(patience_s=0.0)) as stage:
        run_report(stage, stop)


app.command()(doctor)


def _run(stage: Stage, run: Callable[[Stage], None]) -> None:
    """Run a stage for one-apps, which does so once a boot: what may pass is tried again by a unit."""
    keep_environment(stage.layout, stage.environ)
    try:
        run(stage)
    except OneflowerError as error:
        schedule(stage, error)
        raise
    except Exception as error:
        # A defect of ours: the stage may not stay undone until somebody reboots the machine.
        schedule(stage, ClusterError(str(error)))
        raise


@contextmanager
def _stage(
    role: Machine, environ: Mapping[str, str] | None = None, waiting: Waiting | None = None
) -> Iterator[Stage]:
    """Read the environment, into which one-apps exports the whole context, unless another is given."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    environ = dict(os.environ) if environ is None else environ
    access = access_from(environ)
    if access is None:
        yield Stage(machine=role, environ=environ, onegate=None)
        return
    layout = Layout()
    with OneGate(access, waiting=waiting, turn=layout.turn, proof=layout.proof) as onegate:
        yield Stage(machine=role, environ=environ, onegate=onegate, layout=layout)
