"""`oneflower appliance`: the stages of a virtual machine on OpenNebula, and what follows them."""

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
from oneflower.flower.version import require_deployed
from oneflower.kinds import may_pass
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
from oneflower.opennebula.appliance.stage import Stage
from oneflower.opennebula.appliance.systemd import UnitEndedError
from oneflower.opennebula.onegate import OneGate, OneGateError, RetryPolicy, access_from
from oneflower.opennebula.roles import Machine
from oneflower.settings import read_context

app = typer.Typer(
    help="Stages of a virtual machine on OpenNebula, which one-apps runs at every boot.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
LONGEST_START_S = 30.0
RoleOption = Annotated[Machine, typer.Option(help="Role of this machine.", show_default=False)]


@app.command()
def configure(*, role: RoleOption) -> None:
    """Check the context, and write folders, certificates and units. Starts nothing."""
    with _stage(role) as stage:
        call_off(stage)
        _run(stage, run_configure)


@app.command()
def bootstrap(*, role: RoleOption) -> None:
    """Start the services, wait until they are healthy, and publish READY=YES."""
    with _stage(role) as stage:
        _run(stage, run_bootstrap)


@app.command()
def again(*, role: RoleOption) -> None:
    """Repeat both stages of this boot; flower-again.service does so after a temporary failure."""
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
    """Report the state of the machine to OneGate until stopped."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    # One attempt per call: what could not be published is published with the next change.
    with _stage(role, read_context(Layout().context), RetryPolicy(patience_s=0.0)) as stage:
        run_report(stage, stop)


app.command()(doctor)


def _run(stage: Stage, run: Callable[[Stage], None]) -> None:
    """Run a stage for one-apps; after a temporary failure, schedule a unit that repeats it."""
    require_deployed()  # no boot changes it, and nothing was written yet
    keep_environment(stage.layout, stage.environ)
    try:
        run(stage)
    except OneflowerError as error:
        schedule(stage, error)
        raise
    except Exception as error:
        # A bug: repeat the stage anyway, rather than leave it undone until somebody reboots the machine.
        schedule(stage, ClusterError(str(error)))
        raise


@contextmanager
def _stage(
    role: Machine, environ: Mapping[str, str] | None = None, retries: RetryPolicy | None = None
) -> Iterator[Stage]:
    """Return the stage, by default with the environment, to which one-apps exports the context."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    environ = dict(os.environ) if environ is None else environ
    access = access_from(environ)
    if access is None:
        yield Stage(machine=role, environ=environ, onegate=None)
        return
    layout = Layout()
    with OneGate(
        access, retries=retries, lock=layout.onegate_lock, token_record=layout.token_record
    ) as onegate:
        yield Stage(machine=role, environ=environ, onegate=onegate, layout=layout)
