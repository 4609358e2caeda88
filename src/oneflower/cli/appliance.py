"""`oneflower appliance`: the stages of a virtual machine on OpenNebula."""

import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

import typer

from oneflower.opennebula.appliance.bootstrap import bootstrap as run_bootstrap
from oneflower.opennebula.appliance.configure import configure as run_configure
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.appliance.report import report as run_report
from oneflower.opennebula.appliance.stage import Stage
from oneflower.opennebula.onegate import OneGate, access_from
from oneflower.opennebula.roles import Machine
from oneflower.settings import read_context

app = typer.Typer(
    help="The stages of a virtual machine on OpenNebula; one-apps calls them at every boot.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
RoleOption = Annotated[Machine, typer.Option(help="What this machine is.", show_default=False)]


@app.command()
def configure(*, role: RoleOption) -> None:
    """Check the whole context, and write folders, certificates and units. Starts nothing."""
    with _stage(role) as stage:
        run_configure(stage)


@app.command()
def bootstrap(*, role: RoleOption) -> None:
    """Start the services and wait until they are healthy; only then say READY=YES."""
    with _stage(role) as stage:
        run_bootstrap(stage)


@app.command()
def report(*, role: RoleOption) -> None:
    """Follow the machine and tell OneGate, until stopped."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with _stage(role, read_context(Layout().context)) as stage:
        run_report(stage, stop)


@contextmanager
def _stage(role: Machine, environ: Mapping[str, str] | None = None) -> Iterator[Stage]:
    """Read the environment, into which one-apps exports the whole context, unless another is given."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    environ = dict(os.environ) if environ is None else environ
    access = access_from(environ)
    if access is None:
        yield Stage(machine=role, environ=environ, onegate=None)
        return
    with OneGate(access) as onegate:
        yield Stage(machine=role, environ=environ, onegate=onegate)
