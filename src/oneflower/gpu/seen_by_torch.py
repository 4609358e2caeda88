"""Which GPUs PyTorch sees in an environment, asked in a process of its own: this one may fork later."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from oneflower.bounded_json import Bounds, parse_json
from oneflower.foreign_text import cut
from oneflower.gpu.programs import LONGEST, TORCH_GPUS, run_program

TIMEOUT_S: Final = 120.0
"""Importing PyTorch takes seconds, and starting CUDA on eight GPUs some more."""
_BOUNDS: Final = Bounds(most_bytes=64 * 1024, most_values=1000, most_depth=4)
_MOST_GPUS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What PyTorch says.

    Attributes
    ----------
    torch
        Its version; empty where it is not installed, or cannot be imported.
    cuda
        The version of CUDA that it was built with; None without.
    names
        The GPUs that are visible, in CUDA's order.
    error
        Why there is no answer.
    """

    torch: str = ""
    cuda: str | None = None
    names: tuple[str, ...] = ()
    error: str = ""


def seen_by_torch(environ: Mapping[str, str], *, timeout_s: float = TIMEOUT_S) -> Seen:
    """Ask the PyTorch of this Python, in a new process with the environment `environ`."""
    command = [sys.executable, "-P", "-m", TORCH_GPUS]
    try:
        ran = run_program(command, timeout_s, environ=environ)
    except OSError as error:
        return Seen(error=f"{command[0]} cannot be started: {error.strerror}")
    if ran.code is None:
        return Seen(error=f"PyTorch did not say within {timeout_s:.0f} s which GPUs it sees")
    return _parsed(ran.out, ran.code)


def _parsed(output: str, code: int) -> Seen:
    lines = output.strip().splitlines()
    try:
        said = parse_json(lines[-1], _BOUNDS) if lines else None
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return Seen(error=f"the process that asks PyTorch for its GPUs ended with code {code} and no answer")
    names, error = _names(said.get("devices")), _text(said.get("error"))
    return Seen(
        torch=_text(said.get("torch")),
        cuda=_text(said.get("cuda")) or None,
        names=names,
        # A GPU whose memory others have taken is there.
        error="" if names and "out of memory" in error.lower() else error,
    )


def _names(devices: object) -> tuple[str, ...]:
    found = devices[:_MOST_GPUS] if isinstance(devices, list) else []
    return tuple(_text(each[0]) for each in found if isinstance(each, list) and each)


def _text(value: object) -> str:
    return cut(value, LONGEST) if isinstance(value, str) else ""
