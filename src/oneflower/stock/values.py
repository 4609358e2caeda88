"""Values of an app's strategy as one JSON document and the arrays that it names. No pickle.

An object that is there twice is written once, so that it comes back as one object.
"""

import json
import random
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from oneflower.bounded_json import Bounds
from oneflower.flower.api import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from oneflower.flower.records import array_view
from oneflower.training.sampling import APP_STATE

DOCUMENT: Final = APP_STATE
"""The array that holds the JSON document, as bytes."""
ARRAYS: Final = f"{APP_STATE}/"
DEEPEST: Final = 16
BOUNDS: Final = Bounds(most_bytes=64 << 20, most_values=1_000_000, most_depth=4 * DEEPEST)
ENOUGH: Final = Bounds(most_bytes=BOUNDS.most_bytes // 2, most_values=BOUNDS.most_values // 2)
"""What is written at most, well below what is read."""
FACTORIES: Final = {kind.__name__: kind for kind in (int, float, list, dict, set, str, bool)}
RECORDS: Final = {kind.__name__: kind for kind in (ArrayRecord, ConfigRecord, MetricRecord, RecordDict)}
SEQUENCES: Final = {kind.__name__: kind for kind in (list, tuple, set, frozenset, deque)}
_MAPPINGS: Final = {kind.__name__: kind for kind in (dict, OrderedDict, defaultdict)}
_NUMBERS: Final = "biufc"
_ATOMS: Final = (bool, int, float, str, bytes, tuple, frozenset, np.generic, type(None))
"""What nobody can change: two of them are as good as one."""


class UnkeptError(Exception):
    """A value that cannot be kept; the text says of what type it is."""


def document_of(value: Any) -> str:
    """Return the JSON of an encoded value, with its arrays as names."""
    return json.dumps(_Writer(value).plain(value))


def written(values: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return encoded values by name as a checkpoint's state: the document and its arrays."""
    writer = _Writer(list(values.values()))
    document = {name: writer.plain(value) for name, value in values.items()}
    content = np.frombuffer(json.dumps(document).encode(), np.uint8)
    return {DOCUMENT: content.copy(), **{f"{ARRAYS}{i}": array for i, array in enumerate(writer.arrays)}}


class _Writer:
    """Replaces arrays by their numbers, and what is there again by the number that it got before."""

    def __init__(self, values: Any) -> None:
        self.arrays: list[NDArray[Any]] = []
        self._numbers: dict[int, int] = {}
        self._shared = _shared(values)

    def plain(self, value: Any) -> Any:
        """Return an encoded value as JSON's types alone."""
        if isinstance(value, np.ndarray):
            self.arrays.append(value)
            return {"at": len(self.arrays) - 1}
        if isinstance(value, list):
            return [self.plain(item) for item in value]
        if not isinstance(value, dict):
            return value
        if id(value) not in self._shared:
            return {key: self.plain(item) for key, item in value.items()}
        if id(value) in self._numbers:
            return {"same": self._numbers[id(value)]}
        number = self._numbers[id(value)] = len(self._numbers)
        return {**{key: self.plain(item) for key, item in value.items()}, "shared": number}


def _shared(values: Any) -> set[int]:
    """Return which encoded objects are there more than once."""
    seen, shared = set[int](), set[int]()
    left = [values]
    while left:
        value = left.pop()
        if isinstance(value, list):
            left += value
        elif isinstance(value, dict):
            if id(value) in seen:
                shared.add(id(value))
                continue
            seen.add(id(value))
            left += value.values()
    return shared


class Encoder:
    """Encodes values as JSON's types and NumPy arrays; one object gives one encoded object."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[object, Any]] = {}
        self._open: set[int] = set()

    def encode(self, value: Any, depth: int = 0) -> Any:
        """Return a value as JSON's types and NumPy arrays; UnkeptError where that is not possible."""
        if isinstance(value, _ATOMS):
            return self._encoded(value, depth)
        if id(value) in self._done:
            return self._done[id(value)][1]
        if id(value) in self._open:
            raise UnkeptError("a container that contains itself")
        self._open.add(id(value))
        try:
            encoded = self._encoded(value, depth)
        finally:
            self._open.discard(id(value))
        self._done[id(value)] = value, encoded  # with the value, so that no other gets its id
        return encoded

    def _encoded(self, value: Any, depth: int) -> Any:
        if depth > DEEPEST:
            raise UnkeptError("containers that are nested too deeply")
        if value is None or isinstance(value, bool | str):
            return value
        for kind, encode in _ENCODE.items():
            if isinstance(value, kind):
                return encode(value)
        for generator, (key, state_of) in _GENERATORS.items():
            if isinstance(value, generator):
                state = {key: self.encode(state_of(value), depth + 1)}
                if isinstance(value, np.random.Generator):
                    return {"numpy": type(value.bit_generator).__name__, **state}
                return state
        return self._container(value, depth)

    def _container(self, value: Any, depth: int) -> Any:
        name = type(value).__name__
        if type(value) is RECORDS.get(name):
            return {"record": name, "items": self._pairs(value.items(), depth)}
        if type(value) is _MAPPINGS.get(name):
            return {"mapping": name, "items": self._pairs(value.items(), depth), **_factory(value)}
        if type(value) is SEQUENCES.get(name):
            items = [self.encode(item, depth + 1) for item in value]
            most = {"most": value.maxlen} if isinstance(value, deque) and value.maxlen is not None else {}
            return {"sequence": name, "items": sorted(items, key=repr) if "set" in name else items, **most}
        if (tensor := _tensor(value)) is not None:
            return {"tensor": tensor}
        raise UnkeptError(f"{type(value).__module__}.{type(value).__qualname__}")

    def _pairs(self, items: Any, depth: int) -> list[list[Any]]:
        return [[self.encode(key, depth + 1), self.encode(value, depth + 1)] for key, value in items]


def _factory(value: Any) -> dict[str, str]:
    """Return what a defaultdict makes for a new key, by name."""
    made = getattr(value, "default_factory", None)
    if made is None:
        return {}
    if FACTORIES.get(getattr(made, "__name__", "")) is not made:
        raise UnkeptError("collections.defaultdict of a function")
    return {"of": made.__name__}


def _encode_array(value: Any) -> Any:
    array = np.asarray(value)
    if array.dtype.kind not in _NUMBERS:
        raise UnkeptError(f"an array of dtype {array.dtype}")
    return {"scalar" if isinstance(value, np.generic) else "array": array.copy()}


_ENCODE: Final[Mapping[type, Callable[[Any], Any]]] = {
    np.generic: _encode_array,
    np.ndarray: _encode_array,
    int: lambda value: {"int": str(value)},
    float: lambda value: {"float": value.hex()},
    bytes: lambda value: {"bytes": np.frombuffer(value, np.uint8).copy(), "of": "bytes"},
    bytearray: lambda value: {"bytes": np.frombuffer(bytes(value), np.uint8).copy(), "of": "bytearray"},
    Array: lambda value: {"flower": np.array(array_view(value))},
}
"""Subclasses come back as what they are here; np.float64 is a NumPy number and a float."""


def _python_state(value: random.Random) -> list[Any]:
    try:
        return list(value.getstate())
    except NotImplementedError:
        raise UnkeptError("a generator of the system's random numbers") from None


_GENERATORS: Final[Mapping[type, tuple[str, Callable[[Any], Any]]]] = {
    np.random.Generator: ("state", lambda value: dict(value.bit_generator.state)),
    np.random.RandomState: ("legacy", lambda value: value.get_state(legacy=False)),
    random.Random: ("python", _python_state),
}


def _tensor(value: Any) -> NDArray[Any] | None:
    """Return a PyTorch tensor as an array; None for anything else."""
    if not is_tensor(value):
        return None
    try:
        return np.array(value.detach().cpu().numpy())
    except (TypeError, RuntimeError):  # bfloat16, sparse
        return None


def is_tensor(value: object) -> bool:
    """Whether a value is a tensor of PyTorch, which is imported only where the app has done so."""
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach")


def same(one: Any, other: Any) -> bool:
    """Compare two encoded values."""
    if one is other:
        return True
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return (
            isinstance(one, np.ndarray)
            and isinstance(other, np.ndarray)
            and (one.dtype, one.shape) == (other.dtype, other.shape)
            and np.array_equal(_bits(one), _bits(other))
        )
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(type(one) is type(other) and one == other)


def _bits(array: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
