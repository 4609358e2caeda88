"""The state of an app's own strategy: arrays, numbers and plain containers, as arrays and back.

A strategy keeps what it likes in its attributes. Those that have changed since the training began are kept:
what was set before is the app's configuration, and comes from its code. No pickle: one array holds a JSON
document, the others are the arrays that it names.
"""

import json
import random
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from oneflower.bounded_json import Bounds, parse_json
from oneflower.errors import CheckpointError
from oneflower.flower.api import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict, strategy
from oneflower.flower.records import array_view, to_array

DOCUMENT: Final = "app-strategy"
"""The array that holds the JSON document, as bytes."""
ARRAYS: Final = "app-strategy/"
DEEPEST: Final = 16
_BOUNDS: Final = Bounds(most_bytes=64 << 20, most_values=1_000_000, most_depth=4 * DEEPEST)
_NUMBERS: Final = "biufc"
_RECORDS: Final = {kind.__name__: kind for kind in (ArrayRecord, ConfigRecord, MetricRecord, RecordDict)}
_SEQUENCES: Final = {kind.__name__: kind for kind in (list, tuple, set, frozenset, deque)}
_MAPPINGS: Final = {kind.__name__: kind for kind in (dict, OrderedDict, defaultdict)}


class UnkeptError(Exception):
    """A value that cannot be kept; the text says of what type it is."""


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
            if name in self._restored or name not in self._before or not _same(value, self._before[name])
        }
        if not changed:
            return {}, lost
        arrays: list[NDArray[Any]] = []
        document = {name: _with_arrays(value, arrays) for name, value in changed.items()}
        content = np.frombuffer(json.dumps(document).encode(), np.uint8)
        state = {DOCUMENT: content.copy(), **{f"{ARRAYS}{i}": a for i, a in enumerate(arrays)}}
        try:
            _read(state)  # what enters a checkpoint can be read back
        except CheckpointError as error:
            return {}, {**lost, ", ".join(changed): str(error)}
        return state, lost

    def load(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Set the attributes that `save` has kept.

        Raises
        ------
        CheckpointError
            The state is not one that `save` makes.
        """
        if not state:
            return
        values = _read(state)
        for name, value in values.items():
            self._set(name, value)
        self._restored |= values.keys()

    def _set(self, name: str, value: Any) -> None:
        if name in self._also:
            target = self._also[name]
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
        elif isinstance(present, np.random.Generator):
            present.bit_generator.state = value
        elif isinstance(present, random.Random):
            present.setstate(_tuples(value))
        else:
            setattr(owner, attribute, value)

    def _encoded(self) -> tuple[dict[str, Any], dict[str, str]]:
        values: dict[str, Any] = {}
        lost: dict[str, str] = {}
        for name, value in (*_attributes(self._owner), *self._also.items()):
            try:
                values[name] = _encode(value)
            except UnkeptError as error:
                lost[name] = str(error)
        return values, lost


def _attributes(owner: object, prefix: str = "", depth: int = 0) -> list[tuple[str, object]]:
    """Return an object's attributes by path, those of a strategy that it wraps as well."""
    found: list[tuple[str, object]] = []
    for name, value in vars(owner).items() if hasattr(owner, "__dict__") else ():
        if isinstance(value, strategy.Strategy) and depth < DEEPEST:
            found += _attributes(value, f"{prefix}{name}.", depth + 1)
        elif not callable(value):
            found.append((f"{prefix}{name}", value))
    return found


# --- values to JSON and arrays --------------------------------------------------------------------


def _encode(value: Any, depth: int = 0) -> Any:
    """Return a value as JSON's types and NumPy arrays."""
    if depth > DEEPEST:
        raise UnkeptError("containers that are nested too deeply")
    if value is None or isinstance(value, bool | str):
        return value
    for kind, encode in _ENCODE.items():
        if isinstance(value, kind):
            return encode(value, depth)
    return _encode_container(value, depth)


def _encode_container(value: Any, depth: int) -> Any:
    name = type(value).__name__
    if type(value) is _RECORDS.get(name):
        return {"record": name, "items": _pairs(value.items(), depth)}
    if type(value) is _MAPPINGS.get(name):
        return {"mapping": name, "items": _pairs(value.items(), depth)}
    if type(value) is _SEQUENCES.get(name):
        items = [_encode(item, depth + 1) for item in value]
        return {"sequence": name, "items": sorted(items, key=repr) if "set" in name else items}
    if (tensor := _tensor(value)) is not None:
        return {"tensor": tensor}
    raise UnkeptError(f"{type(value).__module__}.{type(value).__qualname__}")


def _pairs(items: Any, depth: int) -> list[list[Any]]:
    return [[_encode(key, depth + 1), _encode(value, depth + 1)] for key, value in items]


def _encode_array(value: Any, depth: int) -> Any:
    del depth
    array = np.asarray(value)
    if array.dtype.kind not in _NUMBERS:
        raise UnkeptError(f"an array of dtype {array.dtype}")
    return {"scalar" if isinstance(value, np.generic) else "array": array.copy()}


_ENCODE: Final[Mapping[type, Callable[[Any, int], Any]]] = {
    np.generic: _encode_array,
    np.ndarray: _encode_array,
    int: lambda value, _: {"int": str(value)},
    float: lambda value, _: {"float": value.hex()},
    bytes: lambda value, _: {"bytes": np.frombuffer(value, np.uint8).copy(), "of": "bytes"},
    bytearray: lambda value, _: {"bytes": np.frombuffer(bytes(value), np.uint8).copy(), "of": "bytearray"},
    Array: lambda value, _: {"flower": np.array(array_view(value))},
    np.random.Generator: lambda value, depth: _encode(dict(value.bit_generator.state), depth + 1),
    random.Random: lambda value, depth: _encode(list(value.getstate()), depth + 1),
}
"""Subclasses come back as what they are here; np.float64 is a NumPy number and a float."""


def _tensor(value: Any) -> NDArray[Any] | None:
    """Return a PyTorch tensor as an array; None for anything else."""
    if type(value).__module__.partition(".")[0] != "torch" or not hasattr(value, "detach"):
        return None
    try:
        return np.array(value.detach().cpu().numpy())
    except (TypeError, RuntimeError):  # bfloat16, sparse
        return None


def _with_arrays(value: Any, arrays: list[NDArray[Any]]) -> Any:
    """Return an encoded value with each array in it replaced by its number in `arrays`."""
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"at": len(arrays) - 1}
    if isinstance(value, dict):
        return {key: _with_arrays(item, arrays) for key, item in value.items()}
    return [_with_arrays(item, arrays) for item in value] if isinstance(value, list) else value


def _same(one: Any, other: Any) -> bool:
    """Compare two encoded values."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return (
            isinstance(one, np.ndarray)
            and isinstance(other, np.ndarray)
            and (one.dtype, one.shape) == (other.dtype, other.shape)
            and one.tobytes() == other.tobytes()
        )
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(type(one) is type(other) and one == other)


def _read(state: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the values of a state by attribute; CheckpointError where `save` did not make it."""
    try:
        document = parse_json(state[DOCUMENT].tobytes(), _BOUNDS)
        return {str(name): _decoded(value, state) for name, value in document.items()}
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"the checkpoint's state of the app's strategy cannot be read ({error!r}): it was written by "
            "another release, or for another strategy. Restore an older checkpoint"
        ) from None


# --- and back -------------------------------------------------------------------------------------


def _decoded(value: Any, state: Mapping[str, NDArray[Any]]) -> Any:
    if not isinstance(value, dict):
        return value
    for key, read in _READ.items():
        if key in value:
            return read(value, state)
    raise ValueError(f"unknown value {sorted(value)}")


def _array(value: Any, state: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    return np.array(state[f"{ARRAYS}{int(value['at'])}"])


def _items(value: Any, state: Mapping[str, NDArray[Any]]) -> list[tuple[Any, Any]]:
    return [(_decoded(key, state), _decoded(item, state)) for key, item in value["items"]]


def _mapping(value: Any, state: Mapping[str, NDArray[Any]]) -> Any:
    items = dict(_items(value, state))
    return OrderedDict(items) if value["mapping"] == "OrderedDict" else items


def _record(value: Any, state: Mapping[str, NDArray[Any]]) -> Any:
    return _RECORDS[value["record"]](dict(_items(value, state)))


def _sequence(value: Any, state: Mapping[str, NDArray[Any]]) -> Any:
    return _SEQUENCES[value["sequence"]]([_decoded(item, state) for item in value["items"]])


def _bytes(value: Any, state: Mapping[str, NDArray[Any]]) -> Any:
    content = _array(value["bytes"], state).tobytes()
    return bytearray(content) if value["of"] == "bytearray" else content


def _torch(value: Any, state: Mapping[str, NDArray[Any]]) -> Any:
    import torch  # noqa: PLC0415  the app has it, or the state would hold no tensor

    return torch.from_numpy(_array(value["tensor"], state))


_READ: Final[Mapping[str, Callable[[Any, Mapping[str, NDArray[Any]]], Any]]] = {
    "int": lambda value, _: int(value["int"]),
    "float": lambda value, _: float.fromhex(value["float"]),
    "bytes": _bytes,
    "flower": lambda value, state: to_array(_array(value["flower"], state)),
    "record": _record,
    "mapping": _mapping,
    "sequence": _sequence,
    "tensor": _torch,
    "array": lambda value, state: _array(value["array"], state),
    "scalar": lambda value, state: _array(value["scalar"], state)[()],
}


def _tuples(value: Any) -> Any:
    """Return nested lists as tuples: the state of Python's generator."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
