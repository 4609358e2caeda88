"""Check what an app does with a GPU: where it trains, and what of it is not deterministic on CUDA.

The other checks run the client; where FL_GPU_ENABLED=YES and the client trains on a GPU, the check of
determinism has compared the bytes of two trainings on it.
"""

import ast
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

from oneflower.findings import Finding, ok, skipped, warning
from oneflower.flower.app_gpus import app_gpus
from oneflower.flower.calls.used_device import used_device
from oneflower.gpu.unusable import has_gpu
from oneflower.lab.app_check.sources import Framework, Sources, loaded_files, loaded_sources

GPU, DEVICE = "gpu", "device"
HOW_TO_CHOOSE: Final = (
    "Put the model and its batches on oneflower.sdk.device.device(), called in the functions of the "
    "ClientApp: it is the processor where there is no GPU, and keeps FL_GPU_MEMORY_FRACTION"
)
HOW_TO_REPLACE: Final = (
    "Replace the operation by one that PyTorch lists as deterministic "
    "(https://docs.pytorch.org/docs/stable/generated/torch.use_deterministic_algorithms.html); else two "
    "trainings with one seed end with different bytes"
)
_CUDA: Final = re.compile(r"cuda(?::[0-9]{1,3})?")
_NOT_DETERMINISTIC: Final = re.compile(
    r"(?P<name>[^\n]{1,120}?) (?:does not have a deterministic implementation|"
    r"defaults to a non-deterministic algorithm)"
)
_CHOOSERS: Final = frozenset(
    {
        "device",
        "cuda",
        "accelerator",
        "set_default_device",
        "accelerate",
        "lightning",
        "pytorch_lightning",
        "trl",
    }
    | {"Accelerator", "Trainer"}
)
"""Who names one of these chooses a device, or lets a library do so."""
_MOST_OPERATIONS: Final = 20
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A line of the app that names CUDA; `guarded` where it does so only if a GPU is there."""

    file: str
    line: int
    said: str
    guarded: bool

    def __str__(self) -> str:
        """Return it as one reads it in an editor."""
        return f"{self.file}:{self.line} ({self.said})"


def places_of(folder: Path) -> list[Place]:
    """List the lines that name CUDA in the loaded modules below a folder; nothing is executed."""
    found: list[Place] = []
    for path in loaded_files(folder):
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        name = str(path.resolve().relative_to(folder.resolve()))
        found += [
            Place(file=name, line=line, said=said, guarded=guarded) for line, said, guarded in _named(tree)
        ]
    return sorted(set(found), key=lambda place: (place.file, place.line, place.said))


def _named(tree: ast.AST) -> Iterator[tuple[int, str, bool]]:
    """Yield what moves something to CUDA; a comparison with its name does not.

    Without recursion: Python runs modules whose trees are deeper than its stack.
    """
    pending: list[tuple[ast.AST, bool]] = [(tree, False)]
    while pending:
        node, guarded = pending.pop()
        match node:
            case ast.Compare():
                continue
            case ast.If() | ast.IfExp():
                guarded = guarded or any(map(_asks_for_a_gpu, ast.walk(node.test)))
            case ast.Call(func=ast.Attribute(attr="cuda")):
                yield node.lineno, ".cuda()", guarded
            case ast.Constant(value=str(text)) if _CUDA.fullmatch(text):
                yield node.lineno, repr(text), guarded
        pending += [(each, guarded) for each in ast.iter_child_nodes(node)]


def _asks_for_a_gpu(node: ast.AST) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return "is_available" in name


@dataclass(slots=True)
class Watched:
    """The operations that PyTorch has warned of while the client ran."""

    operations: dict[str, None] = field(default_factory=dict)

    def note(self, text: str) -> bool:
        """Note the operation that a warning names; return whether it names one."""
        match = _NOT_DETERMINISTIC.match(text)
        if match and len(self.operations) < _MOST_OPERATIONS:
            self.operations[match["name"].strip()] = None
        return match is not None


@contextmanager
def watched() -> Iterator[Watched]:
    """Collect PyTorch's warnings about operations that are not deterministic; all others are shown."""
    seen = Watched()
    with warnings.catch_warnings():
        show = warnings.showwarning

        def note(  # noqa: PLR0913, PLR0917 - as Python calls it
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not seen.note(str(message)):
                show(message, category, filename, lineno, file, line)

        warnings.filterwarnings("always", message=r".*deterministic")
        warnings.showwarning = note
        yield seen


def check_cuda(folder: Path, seen: Watched, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what there is to say, after the client has run; nothing for an app that runs without a GPU."""
    places = places_of(folder)
    asked = app_gpus(environ) is not None
    hard = [place for place in places if asked or not place.guarded]
    if hard:
        yield warning(DEVICE, f"the app names its device itself: {_listed(hard)}", HOW_TO_CHOOSE)
    if asked and not hard and not _count() and _never_asks(loaded_sources(folder)):
        yield warning(
            DEVICE, "no line of the app chooses a device: it trains on the processor", HOW_TO_CHOOSE
        )
    if asked or hard:
        yield _on_gpu(seen) if asked and _count() else _not_checked(asked=asked)


def _never_asks(sources: Sources) -> bool:
    """Whether an app of plain PyTorch has run without a device of its own choice: none was there to see."""
    chooses = _CHOOSERS & (sources.packages | sources.names)
    return sources.framework is Framework.TORCH and not chooses and not used_device()


def _not_checked(*, asked: bool) -> Finding:
    if asked:
        return skipped(GPU, "not checked on a GPU: this machine has none that PyTorch can use")
    why = "FL_GPU_ENABLED is NO" if has_gpu() else "this machine has none"
    return skipped(GPU, f"not checked on a GPU: {why}")


def _on_gpu(seen: Watched) -> Finding:
    cuda: Any = sys.modules["torch"].cuda
    names = [cuda.get_device_name(each) for each in range(_count()) if cuda.max_memory_allocated(each)]
    if not names:
        said = used_device() or "a device of its own choice"
        return warning(GPU, f"a GPU is there, and the client trains on {said}", HOW_TO_CHOOSE)
    where = f"the client trains on {names[0]}"
    if seen.operations:
        listed = ", ".join(seen.operations)
        return warning(
            GPU, f"{where}, where these operations are not deterministic: {listed}", HOW_TO_REPLACE
        )
    return ok(GPU, f"{where}; PyTorch names no operation that is not deterministic there")


def _count() -> int:
    torch: Any = sys.modules.get("torch")
    return torch.cuda.device_count() if torch is not None and torch.cuda.is_available() else 0


def _listed(places: Sequence[Place]) -> str:
    more = len(places) - _SHOWN
    return ", ".join(map(str, places[:_SHOWN])) + (f" and {more} more" if more > 0 else "")
