"""The tables of `docs/journal.md`: python -m oneflower.journal.document docs/journal.md."""

import inspect
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final, get_args, get_type_hints

from oneflower.codes import text
from oneflower.journal.forms import FORMS, Form
from oneflower.quality import ORIGINS

BEGIN: Final = "<!-- generated: python -m oneflower.journal.document docs/journal.md -->"
END: Final = "<!-- end of the generated part -->"


def keys_of(form: Form) -> Iterator[str]:
    """Yield the keys of an event's line besides those that every line has."""
    yield from (field.key for field in form.fields)
    if form.has_metrics:
        yield from (f"{origin}_metrics" for origin in ORIGINS)


def events_table() -> str:
    """Return every event with its fields, and when it is written."""
    rows = ["| event | fields | when |", "|---|---|---|"]
    for tag, form in FORMS.items():
        keys = ", ".join(f"`{key}`" for key in keys_of(form))
        rows.append(f"| `{tag}` | {keys} | {_when(form)} |")
    return "\n".join(rows)


def codes_table() -> str:
    """Return the codes that fields hold."""
    where: dict[type[StrEnum], list[str]] = {}
    for tag, form in FORMS.items():
        for name, hint in get_type_hints(form.cls).items():
            for codes in (hint, *get_args(hint)):
                if isinstance(codes, type) and issubclass(codes, StrEnum):
                    where.setdefault(codes, []).append(f"`{name}` of `{tag}`")
    rows = ["| field | codes |", "|---|---|"]
    rows += [f"| {', '.join(found)} | {', '.join(map(_shown, codes))} |" for codes, found in where.items()]
    return "\n".join(rows)


def page_with_tables(page: str) -> str:
    """Return the page with its generated part as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{events_table()}\n\n{codes_table()}\n\n{END}{after}"


def _when(form: Form) -> str:
    return " ".join((inspect.getdoc(form.cls) or "").split()).replace("|", "\\|")


def _shown(code: StrEnum) -> str:
    words = text(code)
    return f"`{code.value}`" if words == code.value else f"`{code.value}` ({words})"


def main() -> None:
    """Write the generated part of the page that the command line names."""
    path = Path(sys.argv[1])
    path.write_text(page_with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
