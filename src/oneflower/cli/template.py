"""`oneflower template`: generate the files that OpenNebula reads."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from oneflower.cli.config import print_notices
from oneflower.errors import SettingsError
from oneflower.opennebula.roles import Machine
from oneflower.opennebula.templates.answers import service_answers
from oneflower.opennebula.templates.catalogue import service_text, write_catalogue
from oneflower.opennebula.templates.disk_image import describe
from oneflower.opennebula.templates.marketplace import image_entry
from oneflower.opennebula.templates.oneflow import Form
from oneflower.opennebula.templates.passthrough import (
    FIRMWARE,
    MEMORY_MIB,
    Passthrough,
    checked_firmware,
    checked_hugepages,
    parse_gpus,
)
from oneflower.opennebula.templates.vm import Share, vm_template

app = typer.Typer(
    help="Generate templates for OpenNebula from the table of variables.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

AllInputs = Annotated[
    bool, typer.Option("--all-inputs", help="Ask for every variable instead of those of the short form.")
]
GpuInputs = Annotated[
    bool, typer.Option("--gpu", help="Ask for the variables of GPUs, too, with FL_GPU_ENABLED=YES.")
]
FormOption = Annotated[Form, typer.Option(help="6 for OneFlow 6.8 to 7.x, 7 for OneFlow 7.x only.")]


@app.command()
def vm(  # noqa: PLR0913 - one parameter an option
    *,
    role: Annotated[Machine, typer.Option(help="Machine type.", show_default=False)],
    all_inputs: AllInputs = False,
    filesystem: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER=IMAGE",
            help="Mount an image of type FILESYSTEM (OpenNebula 7.4) as the machine's checkpoints, data or "
            "models folder; IMAGE is a name or an id. Repeat the option for each folder.",
            show_default=False,
        ),
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS|VENDOR:DEVICE[:CLASS]",
            help="Hand an NVIDIA GPU of the host to a SuperNode: at an address such as 01:00.0, or any of "
            "a kind such as 10de:2330:0302 (`onehost show` lists both). Repeat the option for each GPU.",
            show_default=False,
        ),
    ] = None,
    hugepages: Annotated[
        int,
        typer.Option(
            metavar="MIB",
            help="With --gpu: keep the VM's memory in the host's huge pages of 2 or 1024 MiB; 0 for ordinary "
            "pages. If you edit MEMORY, keep it a multiple of that size.",
        ),
    ] = 0,
    firmware: Annotated[
        str,
        typer.Option(
            metavar="UEFI|PATH",
            help="With --gpu: UEFI for OpenNebula 7.0 and newer; for 6.8 and 6.10 the path of a firmware "
            "that OVMF_UEFIS lists, such as /usr/share/OVMF/OVMF_CODE.fd.",
        ),
    ] = FIRMWARE,
) -> None:
    """Print the VM template of a role, for `onetemplate create`."""
    text = vm_template(
        role,
        all_inputs=all_inputs,
        filesystems=_shares(filesystem or []),
        passthrough=_passthrough(gpu or [], hugepages=hugepages, firmware=firmware),
    )
    sys.stdout.write(text)


@app.command()
def oneflow(
    *,
    form: FormOption = Form.SIX,
    superlink_template: Annotated[
        int, typer.Option(metavar="ID", min=0, help="Id of the SuperLink's VM template.")
    ] = 0,
    supernode_template: Annotated[
        int, typer.Option(metavar="ID", min=0, help="Id of the SuperNode's VM template.")
    ] = 0,
    all_inputs: AllInputs = False,
    gpu: GpuInputs = False,
) -> None:
    """Print the OneFlow service, for `oneflow-template create`."""
    sys.stdout.write(
        service_text(
            form,
            superlink_template=superlink_template,
            supernode_template=supernode_template,
            all_inputs=all_inputs,
            gpu=gpu,
        )
    )


@app.command()
def answers(
    pairs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="Variables to set; the others have their defaults."),
    ] = None,
    *,
    network: Annotated[
        int,
        typer.Option(metavar="ID", min=0, help="Id of the virtual network.", show_default=False),
    ],
    form: FormOption = Form.SIX,
    all_inputs: AllInputs = False,
    gpu: GpuInputs = False,
) -> None:
    """Print the parameters of a service, for `oneflow-template instantiate ID FILE`.

    The file has a value for every input, as OneFlow requires. Values are checked as by `oneflower config
    check`: if any is wrong, all problems are reported, nothing is printed, and the exit code is 2.
    """
    values, notices = service_answers(form, pairs or [], network=network, all_inputs=all_inputs, gpu=gpu)
    print_notices(notices, Console(stderr=True, soft_wrap=True))
    sys.stdout.write(json.dumps(values, indent=2, ensure_ascii=False) + "\n")


@app.command("image-entry")
def print_image_entry(
    *,
    role: Annotated[Machine, typer.Option(help="Machine type.", show_default=False)],
    image: Annotated[Path, typer.Option(metavar="FILE", help="The qcow2 file.", show_default=False)],
    url: Annotated[str, typer.Option(help="Download URL of the file.", show_default=False)],
) -> None:
    """Print the marketplace entry of a disk image: its size, checksums and URL."""
    sys.stdout.write(image_entry(role, built=datetime.now(UTC), published=describe(image, url)))


@app.command("all")
def write_all(
    *,
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="Output folder.")] = Path("appliances"),
) -> None:
    """Write every generated file of appliances/."""
    for path in write_catalogue(output):
        sys.stdout.write(f"{path}\n")


def _shares(pairs: list[str]) -> dict[Share, str]:
    shares: dict[Share, str] = {}
    for pair in pairs:
        folder, _, image = pair.partition("=")
        if folder not in set(Share) or not image or folder in shares:
            raise SettingsError(
                f"--filesystem {pair!r} is not valid: expected FOLDER=IMAGE where FOLDER is one of "
                f"{', '.join(Share)}, each at most once; for example --filesystem checkpoints=IMAGE"
            )
        shares[Share(folder)] = image
    return shares


def _passthrough(gpus: list[str], *, hugepages: int, firmware: str) -> Passthrough | None:
    if not gpus:
        if hugepages or firmware != FIRMWARE:
            raise SettingsError(
                "--hugepages and --firmware belong to --gpu: expected --gpu ADDRESS with them; add it, or "
                "leave them out"
            )
        return None
    return Passthrough(
        gpus=parse_gpus(gpus),
        hugepage_mib=checked_hugepages(hugepages, MEMORY_MIB),
        firmware=checked_firmware(firmware),
    )
