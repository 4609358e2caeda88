"""Which GPUs PyTorch sees in an environment, asked in a process of its own: this one may fork later.

``python -m oneflower.gpu.seen_by_torch`` prints one JSON object.
"""

import importlib.util
import json
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from oneflower.bounded_json import Bounds, parse_json
from oneflower.foreign_text import cut

TIMEOUT_S: Final = 120.0
"""Importing PyTorch takes seconds, and starting CUDA on eight GPUs some more."""
_BOUNDS: Final = Bounds(most_bytes=64 * 1024, most_values=1000, most_depth=4)
_LONGEST: Final = 500
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
    command = [sys.executable, "-P", "-m", __name__]
    try:
        ran = subprocess.run(command, env=dict(environ), capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return Seen(error=f"PyTorch did not say within {timeout_s:.0f} s which GPUs it sees")
    except OSError as error:
        return Seen(error=f"{command[0]} cannot be started: {error.strerror}")
    return _parsed(ran.stdout, ran.returncode)


def _parsed(output: bytes, code: int) -> Seen:
    lines = output.strip().splitlines()
    try:
        said = parse_json(lines[-1], _BOUNDS) if lines else None
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return Seen(error=f"the process that asks PyTorch for its GPUs ended with code {code} and no answer")
    names = said.get("names")
    return Seen(
        torch=_text(said.get("torch")),
        cuda=_text(said.get("cuda")) or None,
        names=tuple(map(_text, names[:_MOST_GPUS])) if isinstance(names, list) else (),
        error=_text(said.get("error")),
    )


def _text(value: object) -> str:
    return cut(value, _LONGEST) if isinstance(value, str) else ""


def _asked() -> dict[str, Any]:
    if importlib.util.find_spec("torch") is None:
        return {}
    try:
        import torch  # noqa: PLC0415 - this process is for it
    except (ImportError, OSError) as error:
        return {"error": f"PyTorch cannot be imported: {error}"[:_LONGEST]}
    said: dict[str, Any] = {"torch": str(torch.__version__), "cuda": torch.version.cuda}
    if torch.version.cuda is None:
        return said
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cuda: Any = torch.cuda
        try:
            cuda.init()
            said["names"] = [cuda.get_device_name(each) for each in range(cuda.device_count())]
        except (RuntimeError, AssertionError) as error:
            said["error"] = str(error)[:_LONGEST]
    return said


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_asked()) + "\n")
