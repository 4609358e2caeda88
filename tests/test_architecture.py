"""docs/architecture.md names every folder there is, no other, and the layers that imports have."""

import re
from pathlib import Path

from .test_imports import LAYERS, PACKAGE, ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (`[^|]*`) \|(?: (\d*) ?\|)? [^|]+ \|$", re.MULTILINE)
UNTRACKED = {"dist", "build", "site"}


def rows(heading):
    """Return name and layer of each row of the table with this heading."""
    table = PAGE.split(heading, 1)[1].split("\n\n", 1)[0]
    return {name: layer for names, layer in ROW.findall(table) for name in re.findall("`([^`]+)`", names)}


def folders(root, pattern="*"):
    """Return the folders below `root` that hold a file, with a slash at the end."""
    found = (path for path in root.glob(pattern) if path.is_dir() and not re.match(r"[._]", path.name))
    kept = (path for path in found if any(child.is_file() for child in path.rglob("[!_.]*")))
    return {f"{path.relative_to(root).as_posix()}/" for path in kept}


FOLDERS = rows("| folder | layer | what is in it |")
MODULES = rows("| module | layer | what is in it |")
BESIDE = rows("| folder | what is in it |")


def test_every_folder_of_the_package_has_a_row():
    """A folder of data has one row for all folders in it."""
    there = {each for each in folders(PACKAGE, "**/*") if list(Path(PACKAGE, each).parent.glob("*.py"))}
    assert set(FOLDERS) == there


def test_every_module_of_the_package_has_a_row():
    assert set(MODULES) == {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}


def test_the_layers_are_those_of_the_imports():
    top = {name.rstrip("/"): layer for name, layer in (FOLDERS | MODULES).items() if layer}
    assert top == {name: str(layer) for name, layer in LAYERS.items() if name != "__init__"}


def test_every_folder_beside_the_package_has_a_row():
    there = {each for each in folders(ROOT) if each.rstrip("/") not in UNTRACKED} - {"src/"}
    assert {name for name in BESIDE if name.count("/") == 1} == there
    for name in BESIDE:
        assert Path(ROOT, name).is_dir(), name


def test_a_folder_of_tests_is_of_a_folder_of_the_package_or_has_a_row():
    own = {name.removeprefix("tests/") for name in BESIDE if name.startswith("tests/") and name != "tests/"}
    assert folders(ROOT / "tests") - folders(PACKAGE) == own
