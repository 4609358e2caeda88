"""What the modules that an app has loaded import: its framework, and what adds noise for privacy."""

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final


class Framework(StrEnum):
    """The framework in which an app trains."""

    KERAS = "keras"
    JAX = "jax"
    TORCH = "torch"
    XGBOOST = "xgboost"
    SKLEARN = "sklearn"
    NONE = "none"


_PACKAGES: Final[Mapping[Framework, frozenset[str]]] = {
    Framework.KERAS: frozenset({"keras", "tf_keras"}),
    Framework.JAX: frozenset({"jax", "flax", "optax", "equinox", "haiku"}),
    Framework.TORCH: frozenset(
        {"torch", "torchvision", "lightning", "pytorch_lightning", "transformers", "peft", "trl", "opacus"}
    ),
    Framework.XGBOOST: frozenset({"xgboost"}),
    Framework.SKLEARN: frozenset({"sklearn"}),
}
"""In the order in which they count: apps of Keras or JAX may load data with PyTorch."""
_TENSORFLOW: Final = "tensorflow"
_OURS: Final = "oneflower.sdk.torch_app"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The top-level packages, modules and names that an app imports or reads as attributes."""

    packages: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()

    @property
    def framework(self) -> Framework:
        """The framework, by what is imported; TensorFlow counts as Keras where PyTorch is not imported."""
        for framework, packages in _PACKAGES.items():
            if packages & self.packages:
                return framework
        return Framework.KERAS if _TENSORFLOW in self.packages else Framework.NONE


def loaded_sources(folder: Path) -> Sources:
    """Read the source of the modules below a folder that this process has loaded.

    Imports within functions count, too: they may not have run.
    """
    packages, names = set(), set()
    for path in loaded_files(folder):
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue
        for imported, name in _imports(ast.walk(tree)):
            packages.add("torch" if imported == _OURS else imported.partition(".")[0])
            names.add(name)
    return Sources(packages=frozenset(packages - {""}), names=frozenset(names))


def loaded_files(folder: Path) -> Iterator[Path]:
    """Yield the source files below a folder of the modules that this process has loaded."""
    folder = folder.resolve()
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(".py") and Path(file).resolve().is_relative_to(folder):
            yield Path(file)


def _imports(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    """Yield (module, name); an attribute has no module, and neither has an import of the app's own."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((each.name, each.name) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "" if node.level else node.module or ""
            for each in node.names:
                yield (f"{module}.{each.name}" if module == "oneflower.sdk" else module), each.name
        elif isinstance(node, ast.Attribute):
            yield "", node.attr
