"""The state of an app's strategy before an attempt of a round, to be put back in place.

The objects stay the same ones: what an app's closure or another of its objects refers to is put back, too.
What the checkpoints do not keep, such as objects of the app's own classes, is not looked into.
"""

import random
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from oneflower.flower.api import ArrayRecord, ConfigRecord, MetricRecord, RecordDict, strategy
from oneflower.stock.values import is_tensor

PutBack = Callable[[], object]
Taken = tuple[PutBack | None, Iterable[object]]
"""What puts one object back, and what it contains."""
_MAPPINGS: Final = (dict, OrderedDict, defaultdict, ArrayRecord, ConfigRecord, MetricRecord, RecordDict)
_ATOMS: Final = frozenset({bool, int, float, complex, str, bytes, type(None)})


def snapshot(*roots: object) -> Callable[[], None]:
    """Return what puts these objects, and what they contain, back as they are now."""
    found: list[PutBack] = []
    seen: dict[int, object] = {}
    left = list(roots)
    while left:
        value = left.pop()
        if type(value) in _ATOMS or id(value) in seen:
            continue
        seen[id(value)] = value
        put_back, inner = _taken(value)
        if put_back is not None:
            found.append(put_back)
        left += inner

    def restore() -> None:
        for put_back in found:
            put_back()

    return restore


def _taken(value: Any) -> Taken:
    for kind, take in _TAKE.items():
        if isinstance(value, kind):
            return take(value)
    if type(value) in _MAPPINGS:
        return _refill(value, value.clear, value.update)
    if take_sequence := _TAKE_EXACTLY.get(type(value)):
        return take_sequence(value)
    return _of_tensor(value) if is_tensor(value) else (None, ())


def _refill(value: Any, clear: Callable[[], object], update: Callable[[Any], object]) -> Taken:
    content = dict(value.items())

    def put_back() -> None:
        clear()
        update(content)

    return put_back, content.values()


def _of_list(value: list[Any]) -> Taken:
    content = list(value)
    return partial(value.__setitem__, slice(None), content), content


def _of_set(value: set[Any]) -> Taken:
    content = set(value)

    def put_back() -> None:
        value.clear()
        value.update(content)

    return put_back, ()


def _of_deque(value: deque[Any]) -> Taken:
    content = list(value)

    def put_back() -> None:
        value.clear()
        value.extend(content)

    return put_back, content


def _of_array(value: NDArray[Any]) -> Taken:
    if not value.flags.writeable:
        return None, ()
    content = value.copy()

    def put_back() -> None:
        if value.shape == content.shape:
            np.copyto(value, content)

    return put_back, ()


def _of_tensor(value: Any) -> Taken:
    content = value.detach().clone()

    def put_back() -> None:
        if value.shape == content.shape:
            value.data.copy_(content)

    return put_back, ()


def _of_python_generator(value: random.Random) -> Taken:
    try:
        return partial(value.setstate, value.getstate()), ()
    except NotImplementedError:  # the system's random numbers
        return None, ()


_TAKE: Final[dict[type, Callable[[Any], Taken]]] = {
    strategy.Strategy: lambda value: _refill(vars(value), vars(value).clear, vars(value).update),
    np.ndarray: _of_array,
    np.random.Generator: lambda value: (
        partial(setattr, value.bit_generator, "state", value.bit_generator.state),
        (),
    ),
    np.random.RandomState: lambda value: (partial(value.set_state, value.get_state(legacy=False)), ()),
    random.Random: _of_python_generator,
    tuple: lambda value: (None, value),
}
_TAKE_EXACTLY: Final[dict[type, Callable[[Any], Taken]]] = {
    list: _of_list,
    set: _of_set,
    deque: _of_deque,
    bytearray: lambda value: (partial(value.__setitem__, slice(None), bytes(value)), ()),
}
