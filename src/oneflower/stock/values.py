"""Values of an app's strategy as one JSON document and the arrays that it names, and back. No pickle."""

import json
import random
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from oneflower.bounded_json import Bounds, parse_json
from oneflower.errors import CheckpointError
from oneflower.flower.api import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from oneflower.flower.records import array_view, to_array

DOCUMENT: Final = "app-strategy"
"""The array that holds the JSON document, as bytes."""
ARRAYS: Final = "app-strategy/"
DEEPEST: Final = 16
_BOUNDS: Final = Bounds(most_bytes=64 << 20, most_values=1_000_000, most_depth=4 * DEEPEST)
_NUMBERS: Final = "biufc"
_BIT_GENERATORS: Final = frozenset({"PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"})
_FACTORIES: Final = {kind.__name__: kind for kind in (int, float, list, dict, set, str, bool)}
_RECORDS: Final = {kind.__name__: kind for kind in (ArrayRecord, ConfigRecord, MetricRecord, RecordDict)}
_SEQUENCES: Final = {kind.__name__: kind for kind in (list, tuple, set, frozenset, deque)}
_MAPPINGS: Final = {kind.__name__: kind for kind in (dict, OrderedDict, defaultdict)}


class UnkeptError(Exception):
    """A value that cannot be kept; the text says of what type it is."""


ENOUGH: Final = Bounds(most_bytes=_BOUNDS.most_bytes // 2, most_values=_BOUNDS.most_values // 2)
"""What is written at most, well below what is read."""


def document_of(value: Any) -> str:
    """Return the JSON of an encoded value, with its arrays as names."""
    return json.dumps(_with_arrays(value, []))


def written(values: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return encoded values by name as a checkpoint's state: the document and its arrays."""
    arrays: list[NDArray[Any]] = []
    document = {name: _with_arrays(value, arrays) for name, value in values.items()}
    content = np.frombuffer(json.dumps(document).encode(), np.uint8)
    return {DOCUMENT: content.copy(), **{f"{ARRAYS}{i}": array for i, array in enumerate(arrays)}}


def read_back(state: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the values of a state by attribute; CheckpointError where `save` did not make it."""
    try:
        document = parse_json(state[DOCUMENT].tobytes(), _BOUNDS)
        return {str(name): _decoded(value, state) for name, value in document.items()}
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"the checkpoint's state of the app's strategy cannot be read ({error!r}): it was written by "
            "another release, or for another strategy. Restore an older checkpoint"
        ) from None


# --- values to JSON and arrays --------------------------------------------------------------------


def encode(value: Any, depth: int = 0) -> Any:
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
        return {"mapping": name, "items": _pairs(value.items(), depth), **_factory(value)}
    if type(value) is _SEQUENCES.get(name):
        items = [encode(item, depth + 1) for item in value]
        most = {"most": value.maxlen} if isinstance(value, deque) and value.maxlen is not None else {}
        return {"sequence": name, "items": sorted(items, key=repr) if "set" in name else items, **most}
    if (tensor := _tensor(value)) is not None:
        return {"tensor": tensor}
    raise UnkeptError(f"{type(value).__module__}.{type(value).__qualname__}")


def _factory(value: Any) -> dict[str, str]:
    """Return what a defaultdict makes for a new key, by name."""
    made = getattr(value, "default_factory", None)
    if made is None:
        return {}
    if _FACTORIES.get(getattr(made, "__name__", "")) is not made:
        raise UnkeptError("collections.defaultdict of a function")
    return {"of": made.__name__}


def _pairs(items: Any, depth: int) -> list[list[Any]]:
    return [[encode(key, depth + 1), encode(value, depth + 1)] for key, value in items]


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
    np.random.Generator: lambda value, depth: {
        "numpy": type(value.bit_generator).__name__,
        "state": encode(dict(value.bit_generator.state), depth + 1),
    },
    np.random.RandomState: lambda value, depth: {"legacy": encode(value.get_state(legacy=False), depth + 1)},
    random.Random: lambda value, depth: {"python": encode(list(value.getstate()), depth + 1)},
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


def same(one: Any, other: Any) -> bool:
    """Compare two encoded values."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return (
            isinstance(one, np.ndarray)
            and isinstance(other, np.ndarray)
            and (one.dtype, one.shape) == (other.dtype, other.shape)
            and one.tobytes() == other.tobytes()
        )
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(type(one) is type(other) and one == other)


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
    items = _items(value, state)
    if value["mapping"] == "defaultdict":
        made: defaultdict[Any, Any] = defaultdict(_FACTORIES.get(value.get("of", "")))
        made.update(items)
        return made
    return (OrderedDict if value["mapping"] == "OrderedDict" else dict)(items)


def _record(value: Any, state: Mapping[str, NDArray[Any]]) -> Any:
    return _RECORDS[value["record"]](dict(_items(value, state)))


def _sequence(value: Any, state: Mapping[str, NDArray[Any]]) -> Any:
    items = [_decoded(item, state) for item in value["items"]]
    if value["sequence"] == "deque":
        return deque(items, value.get("most"))
    return _SEQUENCES[value["sequence"]](items)


def _bytes(value: Any, state: Mapping[str, NDArray[Any]]) -> Any:
    content = _array(value["bytes"], state).tobytes()
    return bytearray(content) if value["of"] == "bytearray" else content


def _numpy_generator(value: Any, state: Mapping[str, NDArray[Any]]) -> np.random.Generator:
    if value["numpy"] not in _BIT_GENERATORS:
        raise ValueError(f"unknown generator {value['numpy']!r}")
    bits = getattr(np.random, value["numpy"])()
    bits.state = _decoded(value["state"], state)
    return np.random.Generator(bits)


def _numpy_legacy(value: Any, state: Mapping[str, NDArray[Any]]) -> np.random.RandomState:
    made = np.random.RandomState()
    made.set_state(_decoded(value["legacy"], state))
    return made


def _python_generator(value: Any, state: Mapping[str, NDArray[Any]]) -> random.Random:
    made = random.Random()  # noqa: S311 - the app has one
    made.setstate(_tuples(_decoded(value["python"], state)))
    return made


def _torch(value: Any, state: Mapping[str, NDArray[Any]]) -> Any:
    import torch  # noqa: PLC0415  the app has it, or the state would hold no tensor

    return torch.from_numpy(_array(value["tensor"], state))


_READ: Final[Mapping[str, Callable[[Any, Mapping[str, NDArray[Any]]], Any]]] = {
    "int": lambda value, _: int(value["int"]),
    "float": lambda value, _: float.fromhex(value["float"]),
    "bytes": _bytes,
    "flower": lambda value, state: to_array(_array(value["flower"], state)),
    "record": _record,
    "numpy": _numpy_generator,
    "legacy": _numpy_legacy,
    "python": _python_generator,
    "mapping": _mapping,
    "sequence": _sequence,
    "tensor": _torch,
    "array": lambda value, state: _array(value["array"], state),
    "scalar": lambda value, state: _array(value["scalar"], state)[()],
}


def _tuples(value: Any) -> Any:
    """Return nested lists as tuples: the state of Python's generator."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
