"""The GPUs of a SuperNode: looked at once a boot, kept in a file, given to its containers."""

import json
import logging
from typing import Any, Final

from oneflower.errors import GpuError, StateError
from oneflower.files import read_json
from oneflower.gpu import Found, Gpu, Layer, Probe, detect
from oneflower.gpu.container import is_argument
from oneflower.gpu.found import is_uuid
from oneflower.gpu.framework import NAME, PROBE_TIMEOUT_S
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.appliance.stage import Stage
from oneflower.opennebula.appliance.units import DOCKER, Devices, module_command
from oneflower.opennebula.onegate.encoding import MAX_ERROR_CHARACTERS
from oneflower.opennebula.roles import IMAGES, Machine
from oneflower.settings import Settings
from oneflower.settings.cuda_devices import ALL_DEVICES, device_list

log = logging.getLogger(__name__)

KEY: Final = "FL_GPU"
_MOST_GPUS: Final = 1024
_MOST_BYTES: Final = 1 << 50
_LONGEST_NAME: Final = 300


def look(stage: Stage, settings: Settings) -> dict[str, str]:
    """Look at the GPUs, keep what was found, and return what to publish; empty with FL_GPU_ENABLED=NO.

    Raises
    ------
    GpuError
        No GPU can be used, and FL_GPU_REQUIRED is YES. What was found is published.
    StateError
        The file cannot be written.
    """
    if not settings.gpu_enabled:
        forget(stage.layout)
        return {}
    wanted = device_list(settings.cuda_visible_devices)
    found = detect(wanted, probe_of(settings), run=stage.programs, root=stage.layout.root, make_nodes=True)
    for layer, text in found.seen:
        log.info("gpu layer works layer=%s seen=%s", layer, text)
    _write(stage.layout, settings, found)
    values = {KEY: found.text[:MAX_ERROR_CHARACTERS]}
    if found.usable:
        log.info("gpu used gpus=%s arguments=%s", found.text, " ".join(found.arguments))
        return values
    if settings.gpu_required:
        stage.publish(values)
        raise GpuError(
            f"FL_GPU_REQUIRED is YES, and no GPU can be used. {found.text}. To mend it: {found.remedy}. "
            "To train on processors, set FL_GPU_REQUIRED=NO"
        )
    log.warning(
        "gpu not used, processors train layer=%s reason=%s remedy=%s",
        found.failed,
        found.reason,
        found.remedy,
    )
    return values


def probe_of(settings: Settings, *, name: str = NAME, timeout_s: float = PROBE_TIMEOUT_S) -> Probe:
    """Return how PyTorch is tried in the image of the SuperNode."""
    image = Machine.SUPERNODE.image_of(settings.framework)
    return Probe(
        docker=DOCKER,
        command=lambda name, arguments, module: module_command(name, image, arguments, module),
        needs_torch=not IMAGES[settings.framework],
        name=name,
        timeout_s=timeout_s,
    )


def forget(layout: Layout) -> None:
    """Remove what an earlier boot found."""
    try:
        layout.gpus.unlink(missing_ok=True)
    except OSError as error:
        raise StateError(f"cannot remove {layout.gpus}: {error.strerror}; remove it") from None


def devices(layout: Layout, settings: Settings) -> Devices | None:
    """Return what the containers get, as the last boot found it; None with FL_GPU_ENABLED=NO."""
    if not settings.gpu_enabled:
        return None
    found = kept(layout, settings)
    if found is None or not found.usable:
        return Devices()
    is_all = settings.cuda_visible_devices == ALL_DEVICES
    # Numbers would be those of the machine: a container counts the GPUs that it has from 0.
    visible = "" if is_all else ",".join(gpu.uuid for gpu in found.gpus)
    return Devices(arguments=found.arguments, visible=visible)


def are_given(layout: Layout) -> bool:
    """Whether the last boot gave GPUs to the containers."""
    return bool(read_json(layout.gpus).get("arguments"))


def kept(layout: Layout, settings: Settings) -> Found | None:
    """Return what the last boot found; None for a file that is missing, damaged or for other devices."""
    content = read_json(layout.gpus)
    try:
        return _parsed(content, settings.cuda_visible_devices)
    except (ValueError, KeyError, TypeError):
        return None


def _parsed(content: dict[str, Any], asked: str) -> Found:
    given, failed = content["arguments"], content["failed"]
    if content["devices"] != asked or not isinstance(given, list) or len(content["gpus"]) > _MOST_GPUS:
        raise ValueError("it is of other devices")
    if not all(map(is_argument, given)):
        raise ValueError("an argument does not give a GPU to a container")
    found = Found(
        gpus=tuple(_gpu(each) for each in content["gpus"]),
        failed=None if failed is None else Layer(failed),
        reason=str(content["reason"]),
        remedy=str(content["remedy"]),
        arguments=tuple(given),
    )
    if found.usable != bool(found.arguments):
        raise ValueError("its arguments do not belong to its layers")
    return found


def _gpu(content: dict[str, Any]) -> Gpu:
    uuid, name = content["uuid"], content["name"]
    if not is_uuid(uuid) or not isinstance(name, str) or len(name) > _LONGEST_NAME:
        raise ValueError("it names no GPU")
    index, memory_bytes = (content[key] for key in ("index", "memory_bytes"))
    # Not isinstance: True is an int, too.
    if type(index) is not int or type(memory_bytes) is not int:
        raise ValueError("a number is none")
    if not (0 <= index < _MOST_GPUS and 0 < memory_bytes <= _MOST_BYTES):
        raise ValueError("a number is out of its range")
    return Gpu(index=index, uuid=uuid, name=name, memory_bytes=memory_bytes)


def _write(layout: Layout, settings: Settings, found: Found) -> None:
    gpus = [
        {"index": gpu.index, "uuid": gpu.uuid, "name": gpu.name, "memory_bytes": gpu.memory_bytes}
        for gpu in found.gpus
    ]
    content = {
        "devices": settings.cuda_visible_devices,
        "gpus": gpus,
        "failed": found.failed,
        "reason": found.reason,
        "remedy": found.remedy,
        "arguments": found.arguments,
    }
    layout.write(layout.gpus, json.dumps(content, indent=2) + "\n")
