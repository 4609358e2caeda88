"""What `nvidia-smi` prints: the GPUs, their MIG devices, and why it fails. All of it is data."""

import re
from dataclasses import dataclass
from typing import Final

from oneflower.foreign_text import shown
from oneflower.gpu.found import GIB, HEX, UUID, Gpu

SMI: Final = "nvidia-smi"
COLUMNS: Final = ("index", "uuid", "name", "memory.total", "driver_version", "mig.mode.current")
QUERY: Final = (SMI, f"--query-gpu={','.join(COLUMNS)}", "--format=csv,noheader,nounits")
LIST: Final = (SMI, "-L")
MOST_GPUS: Final = 64
MIB: Final = 1 << 20
_LONGEST_NAME: Final = 100
_INDEX = re.compile(r"[0-9]{1,3}", re.ASCII)
_MEMORY = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_VERSION = re.compile(r"[0-9]{1,5}(\.[0-9]{1,5}){1,3}", re.ASCII)
_UUID = re.compile(rf"GPU-{HEX}")
_LISTED_GPU = re.compile(rf"GPU ([0-9]{{1,3}}): .{{1,200}} \(UUID: GPU-{HEX}\)", re.ASCII)
_LISTED_MIG = re.compile(
    rf"\s+MIG ([0-9a-z.+-]{{1,32}})\s+Device\s+[0-9]{{1,3}}: \(UUID: ((?=MIG-)(?:{UUID}))\)", re.ASCII
)
_GIGABYTES = re.compile(r"\.([0-9]{1,4})gb", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A GPU as `nvidia-smi` lists it; ``mig`` is set where it is divided into MIG devices."""

    gpu: Gpu
    driver: str
    mig: bool


def rows(text: str) -> tuple[Row, ...]:
    """Parse the output of `QUERY`; ValueError for anything else."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError("it lists no GPU")
    if len(lines) > MOST_GPUS:
        raise ValueError(f"it has {len(lines)} lines; at most {MOST_GPUS} GPUs are expected")
    found = tuple(_row(line) for line in lines)
    for values in ([row.gpu.index for row in found], [row.gpu.uuid for row in found]):
        if len({*values}) < len(values):
            raise ValueError("it lists a GPU twice")
    return tuple(sorted(found, key=lambda row: row.gpu.index))


def _row(line: str) -> Row:
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != len(COLUMNS):
        raise ValueError(f"{shown(line, 200)!r} has {len(cells)} columns; expected {len(COLUMNS)}")
    index, uuid, name, memory, driver, mig = cells
    checks = ((_INDEX, index), (_UUID, uuid), (_MEMORY, memory), (_VERSION, driver))
    for column, (pattern, cell) in zip(
        ("index", "uuid", "memory.total", "driver_version"), checks, strict=True
    ):
        if not pattern.fullmatch(cell):
            raise ValueError(f"{column} is {shown(cell, 80)!r}")
    gpu = Gpu(
        index=int(index),
        uuid=uuid,
        name=shown(name, _LONGEST_NAME) or "a GPU without a name",
        memory_bytes=int(memory) * MIB,
    )
    return Row(gpu=gpu, driver=driver, mig=mig == "Enabled")


def mig_devices(text: str, found: tuple[Row, ...]) -> tuple[Gpu, ...]:
    """Return the MIG devices that `LIST` shows of known GPUs; lines that say anything else are left out."""
    by_index = {row.gpu.index: row.gpu for row in found}
    parent, devices = None, []
    for line in (each[:400].rstrip() for each in text.splitlines()[: MOST_GPUS * 64]):
        if match := _LISTED_GPU.fullmatch(line):
            parent = by_index.get(int(match[1]))
        elif parent is not None and (match := _LISTED_MIG.fullmatch(line)):
            devices.append(_mig(parent, profile=match[1], uuid=match[2]))
    return tuple(devices)


def _mig(parent: Gpu, *, profile: str, uuid: str) -> Gpu:
    size = _GIGABYTES.search(profile)
    memory_bytes = min(int(size[1]) * GIB, parent.memory_bytes) if size else parent.memory_bytes
    name = f"{parent.name} MIG {profile}"
    return Gpu(index=parent.index, uuid=uuid, name=name, memory_bytes=memory_bytes)
