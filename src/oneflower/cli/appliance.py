"""`oneflower appliance`: the stages of a virtual machine on OpenNebula."""

import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from oneflower.cli.findings import as_rows, as_text, has_problem, print_findings
from oneflower.errors import MachineError
from oneflower.opennebula.appliance.bootstrap import bootstrap as run_bootstrap
from oneflower.opennebula.appliance.commands import SystemCommands
from oneflower.opennebula.appliance.configure import configure as run_configure
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.appliance.report import report as run_report
from oneflower.opennebula.appliance.stage import Stage
from oneflower.opennebula.doctor import (
    Host,
    collect,
    examine,
    find_context,
    find_machine,
    mask_finding,
    masker_of,
    refuse_existing,
    write_bundle,
)
from oneflower.opennebula.onegate import OneGate, access_from
from oneflower.opennebula.roles import Machine
from oneflower.settings import read_context

app = typer.Typer(
    help="The stages of a virtual machine on OpenNebula; one-apps calls them at every boot.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
PROGRAM_S = 8.0
"""How long doctor waits for one of the machine's programs."""

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


@app.command()
def doctor(
    *,
    role: Annotated[
        Machine | None,
        typer.Option(help="What this machine is; found out if not given.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a .tar.gz for a bug report: what is printed, logs and settings, secrets masked.",
        ),
    ] = None,
) -> None:
    """Say what is wrong with this VM, and how to mend it.

    Checks the context, the token, OneGate, the clock, names, the route to the SuperLink and its TLS, disks,
    folders, Docker, the units and the training. Run it as root, at any time, even before the stages ran. It
    publishes a key FL_DOCTOR through OneGate and erases it, creates trial files and removes them, and changes
    nothing else. It takes at most a minute and a half, and a minute more for a bundle.

    Exit code 0 where there is no problem (warnings do not count), 8 where there is one, 2 for wrong usage.
    """
    logging.basicConfig(level=logging.ERROR)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if bundle is not None:
        refuse_existing(bundle)
    layout = Layout()
    machine = role or find_machine(layout)
    found = find_context(layout, os.environ)
    mask = masker_of(found, layout)
    with _onegate(found.context) as onegate:
        host = Host(
            machine=machine,
            found=found,
            onegate=onegate,
            layout=layout,
            commands=SystemCommands(timeout_s=PROGRAM_S),
        )
        findings = [mask_finding(each, mask) for each in examine(host)]
        rows = {"role": machine.value, "ok": not has_problem(findings), "checks": as_rows(findings)}
        document = json.dumps(rows, indent=2) + "\n"
        subject = f"{machine.label} {socket.gethostname()}"
        if bundle is not None:
            members = collect(host, as_text(findings, subject), document)
            size_bytes = write_bundle(bundle, members, mask)
    if as_json:
        sys.stdout.write(document)
    else:
        print_findings(findings, subject)
        if bundle is not None:
            sys.stdout.write(f"{bundle}: {size_bytes} bytes; read it before you hand it on\n")
    if has_problem(findings):
        raise typer.Exit(MachineError.exit_code)


@contextmanager
def _onegate(environ: Mapping[str, str]) -> Iterator[OneGate | None]:
    access = access_from(environ)
    if access is None:
        yield None
        return
    with OneGate(access) as onegate:
        yield onegate


@contextmanager
def _stage(role: Machine, environ: Mapping[str, str] | None = None) -> Iterator[Stage]:
    """Read the environment, into which one-apps exports the whole context, unless another is given."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    environ = dict(os.environ) if environ is None else environ
    with _onegate(environ) as onegate:
        yield Stage(machine=role, environ=environ, onegate=onegate)
