"""The state of an app's own strategy: arrays, numbers and plain containers, as arrays and back.

A strategy keeps what it likes in its attributes. Those that have changed since the training began are kept:
what was set before is the app's configuration, and comes from its code. No pickle: one array holds a JSON
document, the others are the arrays that it names.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from numpy.typing import NDArray

from oneflower.bounded_json import values_at_most
from oneflower.errors import CheckpointError
from oneflower.flower.api import ConfigRecord, strategy
from oneflower.stock.values import DEEPEST, ENOUGH, UnkeptError, document_of, encode, read_back, same, written

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
        Further values by name that the app may change, such as the config of its messages.
    """

    def __init__(self, owner: object, also: Mapping[str, object] | None = None) -> None:
        self._owner = owner
        self._also = dict(also or {})
        self._before = self._encoded()[0]
        self._restored: set[str] = set()

    def save(self) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        """Return what has changed as arrays, and by attribute the type of what has changed and is lost."""
        values, lost = self._encoded()
        changed = {
            name: value
            for name, value in values.items()
            if name in self._restored or name not in self._before or not same(value, self._before[name])
        }
        kept: dict[str, Any] = {}
        size, count = 0, 0
        for name, value in sorted(changed.items(), key=lambda item: len(document_of(item[1]))):
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

    def snapshot(self) -> dict[str, Any]:
        """Return all attributes as they are now, for `restore`."""
        return self._encoded()[0]

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Set the attributes that have changed since a snapshot back."""
        now = self._encoded()[0]
        changed = {name: each for name, each in snapshot.items() if not same(each, now.get(name))}
        for name, value in read_back(written(changed)).items():
            self._set(name, value)

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Set the attributes that `save` has kept.

        Raises
        ------
        CheckpointError
            The state is not one that `save` makes.
        """
        if not state:
            return
        values = read_back(state)
        for name, value in values.items():
            self._set(name, value)
        self._restored |= values.keys()

    def _set(self, name: str, value: Any) -> None:
        if name.startswith(_ALSO):
            target = self._also.get(name.removeprefix(_ALSO))
            if isinstance(target, dict | ConfigRecord) and isinstance(value, Mapping):
                for key in list(target):
                    del target[key]
                target.update(value)
            return
        *path, attribute = name.split(".")
        owner = self._owner
        for step in path:
            owner = getattr(owner, step, None)
        if owner is None:
            return
        present = getattr(owner, attribute, None)
        if isinstance(present, defaultdict) and isinstance(value, Mapping):
            present.clear()
            present.update(value)
        else:
            setattr(owner, attribute, value)

    def _encoded(self) -> tuple[dict[str, Any], dict[str, str]]:
        values: dict[str, Any] = {}
        lost: dict[str, str] = {}
        also = ((f"{_ALSO}{name}", value) for name, value in self._also.items())
        for name, value in (*_attributes(self._owner), *also):
            try:
                values[name] = encode(value)
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
