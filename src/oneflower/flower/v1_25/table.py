"""Write the tables of docs/flower-workarounds.md: ``python -m oneflower.flower.v1_25.table FILE``.

Everything private that oneflower uses of Flower stands there: each workaround, each other use, and each name
with its fingerprint. Nothing is kept by hand: the modules of this folder are read.
"""

import importlib
import pkgutil
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from oneflower.flower import v1_25
from oneflower.flower.private import Declaration, PrivateUse, declared_in
from oneflower.flower.v1_25.workarounds import WORKAROUNDS, Program, Workaround

BEGIN, END = "<!-- generated: {name} -->\n", "<!-- end of generated: {name} -->\n"
PROGRAMS = {
    Program.SUPERLINK: "SuperLink",
    Program.SUPERNODE: "SuperNode",
    Program.SUPEREXEC: "superexec",
    Program.SERVERAPP: "ServerApp",
    Program.CLIENTAPP: "ClientApp",
}


def modules() -> Iterator[ModuleType]:
    """Import every module of this folder."""
    for found in pkgutil.walk_packages(v1_25.__path__, f"{v1_25.__name__}."):
        yield importlib.import_module(found.name)


def uses() -> list[PrivateUse]:
    """Return every declaration that is no workaround, by name."""
    found = {use.name: use for module in modules() for use in declared_in(module)}
    return [found[name] for name in sorted(found)]


def tables() -> dict[str, str]:
    """Return each generated part of the page by its name."""
    return {
        "workarounds": _table(("name", "for", "in", "without it"), map(_workaround_row, WORKAROUNDS)),
        "other uses": _table(("name", "why"), ((f"`{use.name}`", use.why) for use in uses())),
        "private names": _table(("name in Flower", "fingerprint", "used by"), _names()),
    }


def filled(page: str) -> str:
    """Return a page with its generated parts written again.

    Raises
    ------
    ValueError
        A part has no place in the page.
    """
    for name, table in tables().items():
        begin, end = BEGIN.format(name=name), END.format(name=name)
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"expected one {begin.strip()} and one {end.strip()} in the page")
        before, rest = page.split(begin)
        page = f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"
    return page


def _workaround_row(known: Workaround) -> Sequence[str]:
    every = known.programs == frozenset(Program)
    programs = "all" if every else ", ".join(PROGRAMS[each] for each in Program if each in known.programs)
    after = f" Applied after {' and '.join(f'`{name}`' for name in known.after)}." if known.after else ""
    return f"`{known.name}`", known.purpose, programs, f"{known.effect}{after}"


def _names() -> Iterator[Sequence[str]]:
    declared: Sequence[Declaration] = [*WORKAROUNDS, *uses()]
    users: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for each in declared:
        for module, names in each.sources.items():
            for name, digits in names.items():
                users[module, name, digits].append(each.name)
    for (module, name, digits), by in sorted(users.items()):
        yield f"`{module}:{name}`", f"`{digits}`", ", ".join(by)


def _table(heads: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(argv: Sequence[str]) -> None:
    """Rewrite the generated parts of a page in place."""
    path = Path(argv[0])
    path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
