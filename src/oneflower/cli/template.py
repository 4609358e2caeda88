"""`oneflower template`: print what OpenNebula is given, or write all of it."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from oneflower.opennebula.roles import Machine
from oneflower.opennebula.templates.catalogue import service_text, write_catalogue
from oneflower.opennebula.templates.oneflow import Form
from oneflower.opennebula.templates.vm import vm_template

app = typer.Typer(
    help="Templates for OpenNebula, generated from the table of variables.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def vm(
    *, role: Annotated[Machine, typer.Option(help="Machine that the template is for.", show_default=False)]
) -> None:
    """Print the VM template of a role, for `onetemplate create`."""
    sys.stdout.write(vm_template(role))


@app.command()
def oneflow(
    *,
    form: Annotated[
        Form, typer.Option(help="6 is read by OneFlow 6.8 to 7.x; 7 by OneFlow 7.x only.")
    ] = Form.SIX,
    superlink_template: Annotated[
        int, typer.Option(metavar="ID", min=0, help="Id of the SuperLink's VM template.")
    ] = 0,
    supernode_template: Annotated[
        int, typer.Option(metavar="ID", min=0, help="Id of the SuperNode's VM template.")
    ] = 0,
) -> None:
    """Print the OneFlow service, for `oneflow-template create`."""
    sys.stdout.write(
        service_text(form, superlink_template=superlink_template, supernode_template=supernode_template)
    )


@app.command("all")
def write_all(
    *,
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to write.")] = Path("appliances"),
) -> None:
    """Write every generated file of appliances/."""
    for path in write_catalogue(output):
        sys.stdout.write(f"{path}\n")
