"""Where a base model's folder is, and which model it is."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from oneflower.errors import AppError

CACHE_VARIABLE = "ONEFLOWER_CACHE"
DEFAULT_MODEL = "smollm2-135m"
USUAL_FOLDER = Path("/app/models")
"""Where a model is looked for that nobody has named: only then may the one that was fetched stand in."""
BLOCK_BYTES = 1 << 20


def cache_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Give the folder for what is fetched once: ONEFLOWER_CACHE, else oneflower/ in the user's cache."""
    values = os.environ if environ is None else environ
    given = values.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    return Path(values.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "oneflower"


def is_model(folder: Path) -> bool:
    """Say whether a folder holds a model as transformers saves it: a config, and weights as safetensors."""
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def base_model_folder(
    given: Path, environ: Mapping[str, str] | None = None, *, usual: Path = USUAL_FOLDER
) -> Path:
    """Find the base model: `given` itself, the one model in it, or for the usual folder the one fetched.

    Raises
    ------
    AppError
        `given` holds several models, or files that are none, or there is no model at all.
    """
    fetched = cache_folder(environ) / "models" / DEFAULT_MODEL
    found = [given] if is_model(given) else sorted(path for path in _folders(given) if is_model(path))
    if len(found) == 1:
        return found[0]
    is_empty = not (given.is_dir() and any(given.iterdir()))
    if not found and given == usual and is_empty and is_model(fetched):
        return fetched
    raise AppError(
        f"{given} holds {len(found)} base models; expected exactly one folder with config.json and "
        f"*.safetensors. Put one there or name it with FL_BASE_MODEL; or leave {usual} empty and run: "
        f"oneflower models fetch {DEFAULT_MODEL}, which puts one into {fetched}"
    )


def fingerprint(folder: Path) -> str:
    """Hash a model's config and weights, by file name and content: SHA-256 in hex.

    Adapters trained on one base are noise on another: server and clients compare this.
    """
    digest = hashlib.sha256()
    for path in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]:
        if not path.is_file():  # a pipe or a device, which has no end
            raise AppError(
                f"{path} is no file: expected one of a base model. Remove it, or copy the model again"
            )
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as stream:
            while block := stream.read(BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
