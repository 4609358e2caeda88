"""The third layer: what gives the GPUs to a container, CDI or ``--gpus``, by what the machine has.

CDI (Container Device Interface) is a file that `nvidia-ctk cdi generate` writes: which device nodes and
libraries a device such as ``nvidia.com/gpu=0`` stands for. It needs neither a runtime nor a hook of NVIDIA's.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from oneflower.bounded_json import Bounds, parse_json
from oneflower.foreign_text import shown
from oneflower.gpu.found import UUID, Failed, Gpu, Layer
from oneflower.gpu.pci import first_bytes, is_there
from oneflower.gpu.programs import Run

KIND: Final = "nvidia.com/gpu"
SPEC_FOLDERS: Final = ("/etc/cdi", "/var/run/cdi")
HOOKS: Final = ("nvidia-container-runtime-hook", "nvidia-container-runtime", "nvidia-container-toolkit")
INFO_TIMEOUT_S: Final = 30.0
GENERATE: Final = (
    "`systemctl restart nvidia-cdi-refresh`, or where that unit is not there `nvidia-ctk cdi generate "
    "--output=/etc/cdi/nvidia.yaml`"
)
"""In one place only: a file in /etc/cdi that nobody writes again is old after the driver's next update."""
TOOLKIT: Final = "install NVIDIA Container Toolkit (docs/gpu.md; an image built with GPU=YES has it)"
# Without these the old runtime gives a container the tools alone, not the libraries of CUDA.
CAPABILITIES: Final = "--env=NVIDIA_DRIVER_CAPABILITIES=compute,utility"
NODES: Final = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")
"""What each CUDA program opens in /dev, beside the node of its GPU."""
GPU_FOLDERS: Final = "proc/driver/nvidia/gpus"
_BOUNDS: Final = Bounds(most_bytes=1 << 20, most_values=20_000, most_depth=16)
_DOCKER_WITH_CDI: Final = (28, 3)  # on unless it was switched off; from 25 on where it was switched on
_PODMAN_WITH_CDI: Final = (4, 1)
_MOST_FILES: Final = 64
_MOST_SPEC_BYTES: Final = 4 << 20
_IS_GPU = re.compile(r"""\bkind["']?\s*:\s*["']?nvidia\.com/gpu["'\s,}]""")
_NAME = re.compile(r"""\bname["']?\s*:\s*["']?([A-Za-z0-9][A-Za-z0-9_.:-]{0,127})""")
# Docker would read "0/../../dev/sda:/dev/sda" as a device node of the machine.
_DEVICE = rf"(?:all|(?:gpu)?[0-9]{{1,3}}|{UUID})"
_ARGUMENT = re.compile(
    rf'--device={re.escape(KIND)}={_DEVICE}|--gpus=all|--gpus="device={_DEVICE}(,{_DEVICE}){{0,63}}"'
    rf"|{re.escape(CAPABILITIES)}|--device=/dev/(?:{'|'.join(NODES)}|nvidia[0-9]{{1,3}})"
)
_UUID_LINE = re.compile(r"^GPU UUID:\s*(GPU-\S{1,60})\s*$", re.MULTILINE)
_MINOR_LINE = re.compile(r"^Device Minor:\s*([0-9]{1,3})\s*$", re.MULTILINE | re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A container engine, by what `docker info` says."""

    name: str
    version: str
    has_cdi: bool
    folders: tuple[str, ...]
    has_nvidia_runtime: bool


def is_argument(text: object) -> bool:
    """Whether this is an argument that gives GPUs to a container, and nothing else."""
    return isinstance(text, str) and _ARGUMENT.fullmatch(text) is not None


def check_container(
    root: Path, run: Run, docker: str, gpus: Sequence[Gpu], *, all_of_them: bool
) -> tuple[str, ...] | Failed:
    """Return the arguments of ``docker run`` that give these GPUs to a container."""
    engine = _engine(run, docker)
    if isinstance(engine, Failed):
        return engine
    names = _spec_names(root, engine.folders)
    if engine.has_cdi and names:
        return _by_cdi(names, gpus, all_of_them=all_of_them)
    if engine.name == "docker" and (engine.has_nvidia_runtime or _has_hook(root)):
        return (*_by_gpus(gpus, all_of_them=all_of_them), *_nodes(root, gpus))
    return _no_way(engine, has_spec=bool(names))


def _engine(run: Run, docker: str) -> Engine | Failed:
    try:
        ran = run((docker, "info", "--format", "{{json .}}"), INFO_TIMEOUT_S)
    except (OSError, ValueError) as error:
        return _failed(f"{docker} cannot be started: {error}", "install Docker, or use the disk image")
    if ran.code is None:
        return _failed(
            f"`docker info` did not end within {INFO_TIMEOUT_S:.0f} s",
            "`systemctl restart docker`, or reboot",
        )
    if ran.code:
        last = shown(" ".join(ran.said[-600:].split()), 300)
        return _failed(f"Docker does not respond: {last or 'it printed nothing'}", "systemctl restart docker")
    try:
        info = parse_json(ran.out, _BOUNDS)
    except ValueError as error:
        return _failed(
            f"the output of `docker info` is not JSON: {shown(str(error), 200)}",
            "expected Docker or podman-docker as /usr/bin/docker",
        )
    return engine_of(info if isinstance(info, dict) else {})


def engine_of(info: Mapping[str, Any]) -> Engine:
    """Return what `docker info` says; whatever is missing or strange is not there."""
    podman = info.get("version")
    if isinstance(podman, dict) and "host" in info:
        version = podman.get("Version")
        has_cdi = _number(version) >= _PODMAN_WITH_CDI
        return Engine(
            name="podman",
            version=_short(version),
            has_cdi=has_cdi,
            folders=SPEC_FOLDERS,
            has_nvidia_runtime=False,
        )
    version, given = info.get("ServerVersion"), info.get("CDISpecDirs")
    folders = tuple(_folders(given)) if isinstance(given, list) else None
    runtimes = info.get("Runtimes")
    return Engine(
        name="docker",
        version=_short(version),
        has_cdi=bool(folders) if folders is not None else _number(version) >= _DOCKER_WITH_CDI,
        folders=folders or SPEC_FOLDERS,
        has_nvidia_runtime=isinstance(runtimes, dict) and "nvidia" in runtimes,
    )


def _folders(given: list[Any]) -> Iterator[str]:
    for text in given[:8]:
        if isinstance(text, str) and text.startswith("/") and len(text) < 4096 and text.isprintable():
            yield text


def _number(version: object) -> tuple[int, int]:
    match = re.match(r"([0-9]{1,5})\.([0-9]{1,5})", version, re.ASCII) if isinstance(version, str) else None
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _short(version: object) -> str:
    return shown(version, 40) if isinstance(version, str) else "unknown"


def _spec_names(root: Path, folders: Sequence[str]) -> frozenset[str]:
    """Return the names of the devices in all specifications of NVIDIA's GPUs."""
    names: set[str] = set()
    for path in _spec_files(root, folders):
        try:
            text = first_bytes(path, _MOST_SPEC_BYTES).decode("utf-8", errors="replace")
        except (OSError, ValueError):
            continue
        if _IS_GPU.search(f"{text}\n"):
            names.update(_NAME.findall(text))
    return frozenset(names)


def _spec_files(root: Path, folders: Sequence[str]) -> Iterator[Path]:
    for folder in folders:
        try:
            entries = sorted((root / folder.lstrip("/")).iterdir())[:_MOST_FILES]
        except (OSError, ValueError):
            continue
        yield from (path for path in entries if path.suffix in {".yaml", ".json"})


def _by_cdi(names: frozenset[str], gpus: Sequence[Gpu], *, all_of_them: bool) -> tuple[str, ...] | Failed:
    if all_of_them and "all" in names:
        return (f"--device={KIND}=all",)
    arguments = []
    for gpu in gpus:
        name = _cdi_name(names, gpu)
        if name is None:
            return _failed(
                f"the CDI specification does not have GPU {gpu.index} ({gpu.uuid}): it is older than the GPU",
                f"write it again: {GENERATE}",
            )
        arguments.append(f"--device={KIND}={name}")
    return tuple(arguments)


def _cdi_name(names: frozenset[str], gpu: Gpu) -> str | None:
    by_number = () if gpu.is_mig else (str(gpu.index), f"gpu{gpu.index}")
    return next((name for name in (gpu.uuid, *by_number) if name in names), None)


def _by_gpus(gpus: Sequence[Gpu], *, all_of_them: bool) -> tuple[str, ...]:
    # Docker reads the value as CSV: without quotes "0,1" would be a device and a count.
    value = "all" if all_of_them else f'"device={",".join(gpu.uuid for gpu in gpus)}"'
    return (f"--gpus={value}", CAPABILITIES)


def _nodes(root: Path, gpus: Sequence[Gpu]) -> tuple[str, ...]:
    """Return the arguments that name the GPUs' device nodes; none where one of them is not known.

    `--gpus` opens them without systemd's knowledge, which closes them at its next `daemon-reload`
    (https://github.com/NVIDIA/nvidia-container-toolkit/issues/48) unless Docker was told of them as well.
    MIG devices have further nodes, and get none.
    """
    minors = dict(_minors(root))
    if any(gpu.is_mig or gpu.uuid not in minors for gpu in gpus):
        return ()
    names = (*NODES, *(f"nvidia{minors[gpu.uuid]}" for gpu in gpus))
    return tuple(f"--device=/dev/{name}" for name in names if is_there(root / "dev" / name))


def _minors(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the UUID of each GPU and the number of its device node, which may differ from its index."""
    try:
        folders = sorted((root / GPU_FOLDERS).iterdir())[:_MOST_FILES]
    except OSError:
        return
    for folder in folders:
        try:
            text = first_bytes(folder / "information", _MOST_SPEC_BYTES).decode("utf-8", errors="replace")
        except (OSError, ValueError):
            continue
        uuid, minor = _UUID_LINE.search(text), _MINOR_LINE.search(text)
        if uuid and minor:
            yield uuid[1], minor[1]


def _has_hook(root: Path) -> bool:
    return any(is_there(root / folder / name) for folder in ("usr/bin", "usr/local/bin") for name in HOOKS)


def _no_way(engine: Engine, *, has_spec: bool) -> Failed:
    if has_spec and engine.name == "podman":
        return _failed(f"podman {engine.version} does not know CDI", "install podman 4.1 or later")
    if has_spec:
        return _failed(
            f"Docker {engine.version} does not use CDI, and has no runtime of NVIDIA's",
            'write {"features": {"cdi": true}} to /etc/docker/daemon.json (Docker 25 or later; on by default '
            "from 28.3 on), or `nvidia-ctk runtime configure --runtime=docker`; then restart Docker",
        )
    if engine.has_cdi:
        return _failed(
            f"no CDI specification of {KIND} is in {' or '.join(engine.folders)}",
            f"{GENERATE}; if there is no nvidia-ctk: {TOOLKIT}",
        )
    return _failed(
        f"{engine.name} {engine.version} has neither CDI nor a runtime of NVIDIA's",
        f"{TOOLKIT}, then `nvidia-ctk runtime configure --runtime=docker`, and restart Docker",
    )


def _failed(reason: str, remedy: str) -> Failed:
    return Failed(layer=Layer.CONTAINER, reason=reason, remedy=remedy)
