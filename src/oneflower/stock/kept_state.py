"""The state of an app's own strategy: arrays, numbers and plain containers, as arrays and back.

A strategy keeps what it likes in its attributes. Those that have changed since the training began are kept:
what was set before is the app's configuration, and comes from its code. No pickle: one array holds a JSON
document, the others are the arrays that it names.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, MutableMapping
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from numpy.typing import NDArray

from oneflower.bounded_json import values_at_most
from oneflower.errors import CheckpointError
from oneflower.flower.api import strategy
from oneflower.stock.snapshot import snapshot
from oneflower.stock.values import DEEPEST, ENOUGH, Encoder, UnkeptError, document_of, same, written
from oneflower.stock.values_back import read_back

_ALSO: Final = ":"
"""Before the names of what is kept besides attributes: no attribute begins so."""
_CODE: Final = (FunctionType, BuiltinFunctionType, MethodType, partial, type, ModuleType, logging.Logger)


class KeptState:
    """The attributes of one object, and of the strategies that it wraps, as far as they can be kept.

    Parameters
    ----------
    owner : object
        The app's strategy, as it is before its first round.
    also : mapping, optional
        Further mappings by name that may change, such as the config of the app's messages.
    always : collection of str, optional
        Names of `also` that are kept whether or not they have changed.
    """

    def __init__(
        self,
        owner: object,
        also: Mapping[str, MutableMapping[str, Any]] | None = None,
        *,
        always: Collection[str] = (),
    ) -> None:
        self._owner = owner
        self._also = dict(also or {})
        self._before, self._lost_before = self._encoded()
        self._restored = {f"{_ALSO}{name}" for name in always}

    def save(self) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        """Return what has changed as arrays, and by attribute the type of what has changed and is lost."""
        values, lost = self._encoded()
        changed = {
            name
            for name, value in values.items()
            if name in self._restored or name not in self._before or not same(value, self._before[name])
        }
        objects = {id(values[name]) for name in changed if isinstance(values[name], dict)}
        kept: dict[str, Any] = {}
        size, count = 0, 0
        wanted = [item for item in values.items() if item[0] in changed or id(item[1]) in objects]
        for name, value in sorted(wanted, key=lambda item: len(document_of(item[1]))):
            text = document_of(value)
            size, count = size + len(text), count + values_at_most(text)
            if size > ENOUGH.most_bytes or count > ENOUGH.most_values:
                lost[name] = "more values than a checkpoint keeps of a strategy"
                continue
            try:
                read_back(written({name: value}))  # what enters a checkpoint can be read back
            except CheckpointError as error:
                lost[name] = str(error)
            else:
                kept[name] = value
        return (written(kept) if kept else {}), lost

    def snapshot(self) -> Callable[[], None]:
        """Return what puts all of it back as it is now, in place; see `stock.snapshot`."""
        return snapshot(self._owner, *self._also.values())

    def load(self, state: Mapping[str, NDArray[Any]]) -> dict[str, str]:
        """Set the attributes that `save` has kept, and all others as they were before the first round.

        Returns by attribute why it could not be set.

        Raises
        ------
        CheckpointError
            The state is not one that `save` makes.
        """
        values = read_back(state) if state else {}
        now, lost = self._encoded()
        first = {
            name: value
            for name, value in self._before.items()
            if name not in values and not (name in now and same(value, now[name]))
        }
        for name in (*now, *lost):
            if not (name in values or name in self._before or name in self._lost_before):
                self._remove(name)
        self._restored |= values.keys()
        values |= read_back(written(first)) if first else {}
        records = {
            id(value): self._also.get(name.removeprefix(_ALSO), value)
            for name, value in values.items()
            if name.startswith(_ALSO)
        }
        refused: dict[str, str] = {}
        for name, value in values.items():
            try:
                if name.startswith(_ALSO):
                    self._refill(name.removeprefix(_ALSO), value)
                else:  # an attribute may be the record that the app gave for its messages
                    self._set(name, records.get(id(value), value))
            except Exception as error:  # noqa: BLE001 - a property of the app may raise whatever it likes
                refused[name] = f"{type(error).__name__}: {error}"
        return refused

    def _refill(self, name: str, value: Any) -> None:
        target = self._also.get(name)
        if target is not None and isinstance(value, Mapping):
            for key in list(target):
                del target[key]
            target.update(value)

    def _set(self, name: str, value: Any) -> None:
        owner, attribute = self._place(name)
        present = getattr(owner, attribute, None)
        plain = isinstance(value, dict) and getattr(value, "default_factory", None) is None
        if plain and isinstance(present, defaultdict):  # of an earlier release's checkpoint
            present.clear()
            present.update(value)
        else:
            setattr(owner, attribute, value)

    def _remove(self, name: str) -> None:
        owner, attribute = self._place(name)
        vars(owner).pop(attribute, None)

    def _place(self, name: str) -> tuple[object, str]:
        *path, attribute = name.split(".")
        owner = self._owner
        for step in path:
            owner = getattr(owner, step)
        return owner, attribute

    def _encoded(self) -> tuple[dict[str, Any], dict[str, str]]:
        values: dict[str, Any] = {}
        lost: dict[str, str] = {}
        encoder = Encoder()
        also = ((f"{_ALSO}{name}", value) for name, value in self._also.items())
        for name, value in (*_attributes(self._owner), *also):
            try:
                values[name] = encoder.encode(value)
            except UnkeptError as error:
                lost[name] = str(error)
        return values, lost


def _attributes(owner: object, prefix: str = "", depth: int = 0) -> list[tuple[str, object]]:
    """Return an object's attributes by path, those of a strategy that it wraps as well."""
    found: list[tuple[str, object]] = []
    for name, value in vars(owner).items() if hasattr(owner, "__dict__") else ():
        if isinstance(value, strategy.Strategy) and depth < DEEPEST:
            found += _attributes(value, f"{prefix}{name}.", depth + 1)
        elif not isinstance(value, _CODE):
            found.append((f"{prefix}{name}", value))
    return found
