"""Assign the partitions of the data to the members of a service, after any sequence of joins and leaves.

A table lists the members' ids by partition: the member at index i has partition i of ``len(table)``.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oneflower.bounded_json import parse_json

TABLE_SCHEMA = 1
MAX_MEMBER = 2**63 - 1

Table = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One node's partition of data that all nodes share: `index` (from 0) of `count`."""

    index: int
    count: int


def assign(previous: Sequence[int], members: Collection[int], hints: Mapping[int, Part]) -> Table:
    """Assign one partition of ``len(members)`` to every member.

    A member keeps its partition if that still exists. The others get the free ones in the order of their
    ids, so as few members as possible change theirs.

    Parameters
    ----------
    previous
        The last table; empty if none is known.
    hints
        The partitions that members report as theirs. Used only if no table is known; if several report the
        same one, the lowest id gets it.
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
    """Return a member's partition; None if the table does not contain it."""
    return Part(index=table.index(member), count=len(table)) if member in table else None


def checked_table(values: object) -> Table:
    """Return values as a table; ValueError if they are not a list of distinct ids."""
    if not isinstance(values, list) or not all(
        type(each) is int and 0 <= each <= MAX_MEMBER for each in values
    ):
        raise ValueError("expected a list of ids, whole numbers from 0")
    if len(set(values)) != len(values):
        raise ValueError("expected each id once")
    return tuple(values)


def table_text(table: Table) -> str:
    """Return the text of a table's file."""
    return json.dumps({"v": TABLE_SCHEMA, "members": list(table)}) + "\n"


def read_table(text: str) -> Table:
    """Parse the text that `table_text` writes; ValueError if it is not valid."""
    found: Any = parse_json(text)
    if not isinstance(found, dict) or found.get("v") != TABLE_SCHEMA:
        raise ValueError(f"expected an object with v {TABLE_SCHEMA}")
    return checked_table(found.get("members"))
