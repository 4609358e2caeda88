"""Print which GPUs PyTorch sees and computes on, as one JSON object: ``python -m oneflower.gpu.torch_gpus``.

It is a program of its own because what it does starts CUDA, which no process survives that forks later.
A VM runs it in a container, `simulate` and `up` beside themselves.
"""

import json
import sys
import warnings
from typing import Any

from oneflower.gpu.programs import LONGEST


def asked() -> dict[str, Any]:
    """Return PyTorch's version, its CUDA's, the GPUs (name, bytes of memory), and the first error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # with PYTHONWARNINGS=error they would be errors
        try:
            import torch  # noqa: PLC0415 - this process is for it
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if missing == "torch":
                return {"torch": None}
            return {"torch": "unknown", "error": f"{missing} is missing"}
        except Exception as error:  # noqa: BLE001 - a broken package raises anything
            return {"torch": "unknown", "error": f"PyTorch cannot be imported: {error}"[:LONGEST]}
        return _answer(torch)


def _answer(torch: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"torch": "unknown", "devices": []}
    try:
        said["torch"], said["cuda"] = str(torch.__version__), torch.version.cuda
        said["available"] = torch.cuda.is_available()
        if said["cuda"] is not None:
            _compute(torch, said["devices"])
    except Exception as error:  # noqa: BLE001 - the answer says what it was
        said["error"] = (str(error) or type(error).__name__)[:LONGEST]
    return said


def _compute(torch: Any, devices: list[tuple[str, int]]) -> None:
    """List every GPU, then compute on each: one that is too new for the build fails at its first kernel."""
    torch.cuda.init()
    count = torch.cuda.device_count()
    for index in range(count):
        found = torch.cuda.get_device_properties(index)
        devices.append((str(found.name)[:200], int(found.total_memory)))
    for index in range(count):
        if (torch.ones(8, device=f"cuda:{index}") * 2).sum().item() != 16:
            raise RuntimeError(f"GPU {index} computes a wrong sum")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asked()) + "\n")
