"""Measure the source tree: modules, lines, functions, and the names that several modules define.

    python benchmarks/house.py                          # this checkout
    python benchmarks/house.py ../before . --names      # two checkouts side by side, and the list of names

A tree is a checkout of this repository, or any folder of Python modules. A function's length is counted from
`def` to its last line. A name counts as defined twice when two modules have a class or function of that name
at their top level. Nothing is written.
"""

import argparse
import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function or method; ``place`` is its module and line."""

    name: str
    place: str
    lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What was counted in one tree; ``twice`` maps a name to the modules that define it."""

    modules: dict[str, int]
    functions: list[Function]
    twice: dict[str, list[str]]

    @property
    def longest_module(self) -> str:
        """Return the module with the most lines."""
        return max(self.modules, key=lambda name: self.modules[name])

    @property
    def longest_function(self) -> Function:
        """Return the function with the most lines."""
        return max(self.functions, key=lambda function: function.lines)


def measure(tree: Path) -> House:
    """Count the modules below ``src/oneflower`` of a checkout, or below any other folder."""
    package = tree / "src" / "oneflower"
    root = package if package.is_dir() else tree
    modules: dict[str, int] = {}
    functions: list[Function] = []
    defined: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(root.rglob("*.py")):
        module, text = str(path.relative_to(root)), path.read_text(encoding="utf-8")
        parsed = ast.parse(text)
        modules[module] = len(text.splitlines())
        functions += _functions(parsed, module)
        for name in {node.name for node in parsed.body if isinstance(node, FUNCTION | ast.ClassDef)}:
            defined[name].append(module)
    if not functions:
        raise SystemExit(
            f"{tree}: no Python module with a function; expected a checkout or a folder of modules"
        )
    twice = {name: places for name, places in sorted(defined.items()) if len(places) > 1}
    return House(modules=modules, functions=functions, twice=twice)


def _functions(parsed: ast.Module, module: str) -> Iterator[Function]:
    for node in ast.walk(parsed):
        if isinstance(node, FUNCTION):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            yield Function(name=node.name, place=f"{module}:{node.lineno}", lines=length)


def rows(house: House) -> dict[str, str]:
    """Return what is printed of one tree, by the name of the row."""
    longest = house.longest_function
    public = [name for name in house.twice if not name.startswith("_")]
    return {
        "modules": str(len(house.modules)),
        "lines": str(sum(house.modules.values())),
        "median module": f"{median(house.modules.values()):g} lines",
        "longest module": f"{house.modules[house.longest_module]} lines, {house.longest_module}",
        "functions": str(len(house.functions)),
        "median function": f"{median(function.lines for function in house.functions):g} lines",
        "longest function": f"{longest.lines} lines, {longest.name} ({longest.place})",
        "functions over 40 lines": str(sum(function.lines > 40 for function in house.functions)),
        "names defined twice": f"{len(house.twice)}, {len(public)} of them public",
    }


def table(houses: dict[str, House]) -> Iterable[str]:
    """Return the lines of a Markdown table with a column for each tree."""
    columns = {tree: rows(house) for tree, house in houses.items()}
    yield f"| | {' | '.join(columns)} |"
    yield f"|---{'|---' * len(columns)}|"
    for name in next(iter(columns.values())):
        yield f"| {name} | {' | '.join(column[name] for column in columns.values())} |"


def main() -> None:
    """Print the table, and the names with ``--names``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("trees", nargs="*", default=["."], help="checkouts, or folders of Python modules")
    parser.add_argument("--names", action="store_true", help="list the names that several modules define")
    given = parser.parse_args()
    houses = {tree: measure(Path(tree)) for tree in given.trees}
    print("\n".join(table(houses)))
    for tree, house in houses.items() if given.names else ():
        print(f"\n{tree}: names defined in more than one module")
        print("\n".join(f"  {name}: {', '.join(places)}" for name, places in house.twice.items()))


if __name__ == "__main__":
    main()
