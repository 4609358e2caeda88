"""Which rule leaves a file out of an app's bundle: its extension, a line of .gitignore, a link."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Self

from oneflower.flower.door import port  # noqa: F401 - first: it checks the version

import pathspec  # isort: skip - Flower brings it

IGNORE_FILE: Final = ".gitignore"
SUFFIXES: Final = frozenset({".py", ".toml", ".md"})
"""What Flower packs: FAB_INCLUDE_PATTERNS of flwr/common/constant.py."""
EXTENSION: Final = "their extension"
LINK: Final = "a symbolic link to a folder, which Flower does not follow"
FLOWER: Final = "a rule of Flower's (flwr/cli/build.py)"
_BUILT: Final = frozenset({"__pycache__", "node_modules", "dist", "build"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A file that is not in the bundle, the rule that leaves it out, and how to get it in."""

    name: str
    rule: str
    fix: str

    @property
    def text(self) -> str:
        """The file and the rule."""
        rule = "its extension" if self.rule == EXTENSION else self.rule
        return f"{self.name} is left out of the bundle by {rule}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackingRules:
    """The rules for one folder. Flower reads the .gitignore at its top and no other one."""

    folder: Path
    lines: tuple[tuple[int, str], ...]
    """The patterns of .gitignore with their line numbers."""

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Read a folder's .gitignore; Flower takes one that is not UTF-8 for an empty one."""
        try:
            text = (folder / IGNORE_FILE).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            text = ""
        lines = enumerate((line.strip() for line in text.splitlines()), start=1)
        return cls(
            folder=folder,
            lines=tuple((number, line) for number, line in lines if line and not line.startswith("#")),
        )

    def left_out(self, name: str) -> LeftOut:
        """Say by which rule a file that is not in the bundle was left out."""
        path = PurePosixPath(name)
        linked = next((each for each in [path, *path.parents] if self._is_linked_folder(each)), None)
        if linked is not None:
            return LeftOut(name=name, rule=LINK, fix=f"Put a copy of the folder in the place of {linked}")
        if path.suffix not in SUFFIXES:
            return LeftOut(name=name, rule=EXTENSION, fix=HOW_TO_PACK_DATA)
        found = self._ignoring(name)
        if found is None:
            return LeftOut(name=name, rule=FLOWER, fix=HOW_TO_RENAME)
        number, pattern = found
        folder = "" if path.parent == PurePosixPath() else f"{path.parent}/"
        back = f"!/{folder or name}"
        return LeftOut(
            name=name,
            rule=f"line {number} of {IGNORE_FILE} ({pattern})",
            fix=f'Remove line {number} of {IGNORE_FILE}, or add a line "{back}" below it',
        )

    def files(self) -> Iterator[str]:
        """Yield the paths below the folder, without hidden ones and what builds leave behind."""
        yield from _files(self.folder, "")

    def _is_linked_folder(self, path: PurePosixPath) -> bool:
        full = self.folder / path
        return path.name != "" and full.is_symlink() and full.is_dir()

    def _ignoring(self, name: str) -> tuple[int, str] | None:
        spec = pathspec.PathSpec.from_lines("gitwildmatch", [line for _, line in self.lines])
        result = spec.check_file(name)
        if not result.include or result.index is None:
            return None
        return self.lines[result.index]


HOW_TO_PACK_DATA: Final = (
    "Flower packs .py, .toml and .md files only: read other files from a mounted folder, or put them into a "
    "Python package that is installed on every machine"
)
HOW_TO_RENAME: Final = "Move it to another folder or name: Flower leaves out __pycache__ and .flwr"


def _files(folder: Path, prefix: str) -> Iterator[str]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in _BUILT or path.name.endswith(".egg-info"):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files(path, f"{prefix}{path.name}/")
        else:
            yield f"{prefix}{path.name}"
