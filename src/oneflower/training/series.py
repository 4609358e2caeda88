"""The metrics of many rounds in little memory: packed numbers, made Flower's records when asked for."""

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator, MutableMapping

from oneflower.flower.api import MetricRecord


class Series(MutableMapping[int, MetricRecord]):
    """Metrics by round, oldest first, where Flower keeps a dict of records.

    A record takes half a kilobyte, and a training of ten thousand rounds has thirty thousand. Rounds of the
    same metrics share their names; integers and floats are kept in 64 bits. A record that holds a list is
    kept as it is.
    """

    def __init__(self) -> None:
        self._numbers = array("q")
        self._forms = array("L")
        self._offsets = array("Q")
        self._data = bytearray()
        self._known: list[tuple[tuple[str, ...], str]] = []
        self._places: dict[tuple[tuple[str, ...], str], int] = {}
        self._others: dict[int, MetricRecord] = {}

    def __getitem__(self, number: int) -> MetricRecord:
        index = self._index(number)
        if index is None:
            raise KeyError(number)
        if number in self._others:
            return self._others[number]
        names, form = self._known[self._forms[index]]
        values = struct.unpack_from(form, self._data, self._offsets[index])
        return MetricRecord(dict(zip(names, values, strict=True)))

    def __setitem__(self, number: int, record: MetricRecord) -> None:
        index = self._index(number)
        if index is None:
            index = bisect_left(self._numbers, number)
            self._numbers.insert(index, number)
            self._forms.insert(index, 0)
            self._offsets.insert(index, 0)
        self._others.pop(number, None)
        try:
            self._forms[index], self._offsets[index] = self._packed(record)
        except (struct.error, TypeError):
            self._others[number] = record

    def __delitem__(self, number: int) -> None:
        index = self._index(number)
        if index is None:
            raise KeyError(number)
        self._others.pop(number, None)
        for column in (self._numbers, self._forms, self._offsets):
            del column[index]

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def __reversed__(self) -> Iterator[int]:
        return reversed(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __repr__(self) -> str:
        return repr(dict(self))

    def _index(self, number: int) -> int | None:
        """Return where a round lies. Rounds come in order, so that the newest is found without a search."""
        index = bisect_left(self._numbers, number)
        return index if index < len(self._numbers) and self._numbers[index] == number else None

    def _packed(self, record: MetricRecord) -> tuple[int, int]:
        """Store a record's numbers; return its form and where they lie. TypeError for one with a list."""
        kinds = []
        for value in record.values():
            if not isinstance(value, int | float):
                raise TypeError(value)
            kinds.append("q" if isinstance(value, int) else "d")
        form = tuple(record), "<" + "".join(kinds)
        packed = struct.pack(form[1], *record.values())
        if form not in self._places:
            self._places[form] = len(self._known)
            self._known.append(form)
        offset = len(self._data)
        self._data += packed
        return self._places[form], offset
