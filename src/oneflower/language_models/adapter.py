"""A LoRA adapter out of a checkpoint, as the folder that peft's own loader opens."""

import importlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oneflower.errors import AppError, StateError

KEYS = ("base-model", "lora-rank", "lora-alpha", "lora-targets")
TRAINED = ".default."
"""peft names the adapter in its live parameters, and leaves the name out of the file."""


def export_adapter(
    arrays: Mapping[str, NDArray[Any]],
    versions: Mapping[str, str],
    target: Path,
    *,
    base_model: str | None = None,
) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors` into the new folder `target`.

    Parameters
    ----------
    arrays
        The checkpoint's model: the adapter's weights by their live names.
    versions
        The manifest's versions: base model, rank, alpha and targets.
    base_model
        What the config names as the base, a folder or a hub name; else the base's name in the manifest.

    Raises
    ------
    AppError
        The checkpoint holds no adapter, or safetensors is not installed.
    StateError
        The folder exists already or cannot be written.
    """
    missing = [key for key in KEYS if key not in versions]
    if missing or not arrays or not all(TRAINED in name for name in arrays):
        reason = f"its manifest lacks {', '.join(missing)}" if missing else "its arrays have other names"
        raise AppError(
            f"the checkpoint holds no LoRA adapter: {reason}. Expected one of the app llm-fine-tuning. "
            f"Name another folder"
        )
    if target.exists():
        raise StateError(f"{target} exists already; expected a new folder, so that nothing is overwritten")
    weights = {
        name.replace(TRAINED, "."): np.ascontiguousarray(value, dtype=np.float32)
        for name, value in arrays.items()
    }
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".adapter-", dir=target.parent) as scratch:
            folder = Path(scratch) / target.name
            folder.mkdir()
            file = folder / "adapter_model.safetensors"
            _safetensors().save_file(weights, file, {"format": "pt"})
            file.chmod(0o644)  # another user may serve it
            text = json.dumps(_config(versions, base_model), indent=2) + "\n"
            (folder / "adapter_config.json").write_text(text, encoding="utf-8")
            folder.rename(target)
    except OSError as error:
        raise StateError(f"{target} cannot be written: {error}. Name another folder or free space") from error


def _config(versions: Mapping[str, str], base_model: str | None) -> dict[str, object]:
    return {
        "base_model_name_or_path": base_model or versions["base-model"],
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": int(versions["lora-rank"]),
        "lora_alpha": int(versions["lora-alpha"]),
        "lora_dropout": 0.0,
        "target_modules": versions["lora-targets"].split(","),
        "bias": "none",
        "inference_mode": True,
    }


def _safetensors() -> Any:
    try:
        return importlib.import_module("safetensors.numpy")
    except ImportError as error:
        raise AppError(
            "exporting an adapter needs safetensors, which is not installed. Run pip install 'oneflower[llm]'"
        ) from error
