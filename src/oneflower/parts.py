"""Which part of the data each member of a service has: one rule for every sequence of joins and leaves.

A table is the members' ids by part: the member at place i has part i of as many as there are members.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TABLE_SCHEMA = 1
MAX_MEMBER = 2**63 - 1

Table = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One node's part of data that all nodes share: `index` (from 0) of `count`."""

    index: int
    count: int


def assign(previous: Sequence[int], members: Collection[int], hints: Mapping[int, Part]) -> Table:
    """Give every member one part of ``len(members)``.

    A member keeps its part where that still exists. The others take the parts that are free, in the order
    of their ids; so the fewest members change theirs.

    Parameters
    ----------
    previous
        The last table; empty where none is known.
    hints
        What members say they were given. It counts only where no table is known: of several that name one
        part, the lowest id has it.
    """
    known = {member: part for part, member in enumerate(previous)}
    wanted = known or {member: hint.index for member, hint in hints.items()}
    holders: dict[int, int] = {}
    for member in sorted(members):
        part = wanted.get(member, -1)
        if 0 <= part < len(members):
            holders.setdefault(part, member)
    without = iter(sorted(set(members).difference(holders.values())))
    return tuple(holders[part] if part in holders else next(without) for part in range(len(members)))


def part_of(table: Sequence[int], member: int) -> Part | None:
    """Return a member's part; None where the table does not have it."""
    return Part(index=table.index(member), count=len(table)) if member in table else None


def checked_table(values: object) -> Table:
    """Return values as a table; ValueError where they are not a list of different ids."""
    if not isinstance(values, list) or not all(
        type(each) is int and 0 <= each <= MAX_MEMBER for each in values
    ):
        raise ValueError("expected a list of ids, whole numbers from 0")
    if len(set(values)) != len(values):
        raise ValueError("expected each id once")
    return tuple(values)


def table_text(table: Table) -> str:
    """Return a table as the text of its file."""
    return json.dumps({"v": TABLE_SCHEMA, "members": list(table)}) + "\n"


def read_table(text: str) -> Table:
    """Read what `table_text` writes; ValueError where it is something else."""
    found: Any = json.loads(text)
    if not isinstance(found, dict) or found.get("v") != TABLE_SCHEMA:
        raise ValueError(f"expected an object with v {TABLE_SCHEMA}")
    return checked_table(found.get("members"))
