"""`oneflower appliance doctor`: find problems of a VM, and write a bundle for a bug report."""

import json
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from oneflower.cli.findings import as_rows, as_text, has_problem, print_findings
from oneflower.errors import MachineError
from oneflower.opennebula.appliance.commands import SystemCommands
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.doctor import (
    Found,
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
from oneflower.opennebula.onegate import OneGate, RetryPolicy, access_from
from oneflower.opennebula.roles import Machine

PROGRAM_S = 8.0
"""Time limit for each of the machine's programs that doctor runs."""


def doctor(
    *,
    role: Annotated[
        Machine | None,
        typer.Option(help="Role of this machine; detected by default.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a .tar.gz for a bug report: the output, logs and settings, with secrets masked.",
        ),
    ] = None,
) -> None:
    """Find out what is wrong with this VM and how to fix it.

    Checks the installed Flower, the context, the token, OneGate, the clock, names, the route to the SuperLink
    and its TLS, disks, folders, Docker, the units, the training and GPUs. Run it as root, at any time, even
    before the stages. It publishes and erases a key FL_DOCTOR through OneGate, creates and removes test files
    and, with FL_GPU_ENABLED=YES, a container that tries PyTorch on the GPUs, and
    changes nothing else. It takes up to a minute and a half, and a minute more for a bundle.

    Exit code 0: no problem (there may be warnings); 8: a problem; 2: wrong usage.
    """
    logging.basicConfig(level=logging.ERROR)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if bundle is not None:
        refuse_existing(bundle)
    layout = Layout()
    machine = role or find_machine(layout)
    found = find_context(layout, os.environ)
    mask = masker_of(found, layout)
    with _onegate(found, layout) as onegate:
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
            sys.stdout.write(f"{bundle}: {size_bytes} bytes; read it before you share it\n")
    if has_problem(findings):
        raise typer.Exit(MachineError.exit_code)


@contextmanager
def _onegate(found: Found, layout: Layout) -> Iterator[OneGate | None]:
    """Connect as the stages do, with their lock; make each call once, and write nothing to the disk."""
    access = access_from(found.context)
    if access is None:
        yield None
        return
    with OneGate(access, retries=RetryPolicy(patience_s=0.0), lock=layout.onegate_lock) as onegate:
        yield onegate
