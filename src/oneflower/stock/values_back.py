"""Values of an app's strategy out of the JSON document and the arrays of a checkpoint."""

import random
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from oneflower.bounded_json import parse_json
from oneflower.errors import CheckpointError
from oneflower.flower.records import to_array
from oneflower.stock.values import ARRAYS, BOUNDS, DOCUMENT, FACTORIES, RECORDS, SEQUENCES

_BIT_GENERATORS: Final = frozenset({"PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"})


def read_back(state: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the values of a state by attribute; CheckpointError where `written` did not make it."""
    try:
        document = parse_json(state[DOCUMENT].tobytes(), BOUNDS)
        reader = _Reader(state)
        return {str(name): reader.decoded(value) for name, value in document.items()}
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"the checkpoint's state of the app's strategy cannot be read ({error!r}): it was written by "
            "another release, or for another strategy. Restore an older checkpoint"
        ) from None


class _Reader:
    """Decodes values; what was written once for several places is one object again."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._arrays = arrays
        self._shared: dict[int, Any] = {}

    def decoded(self, value: Any) -> Any:
        """Return what an encoded value stands for."""
        if not isinstance(value, dict):
            return value
        if "same" in value:
            return self._shared[int(value["same"])]
        for key, read in _READ.items():
            if key in value:
                made = read(value, self)
                if "shared" in value:
                    self._shared[int(value["shared"])] = made
                return made
        raise ValueError(f"unknown value {sorted(value)}")

    def array(self, value: Any) -> NDArray[Any]:
        """Return the array that a value names."""
        return np.array(self._arrays[f"{ARRAYS}{int(value['at'])}"])

    def items(self, value: Any) -> list[tuple[Any, Any]]:
        """Return keys and values."""
        return [(self.decoded(key), self.decoded(item)) for key, item in value["items"]]


def _mapping(value: Any, reader: _Reader) -> Any:
    items = reader.items(value)
    if value["mapping"] == "defaultdict":
        made: defaultdict[Any, Any] = defaultdict(FACTORIES.get(value.get("of", "")))
        made.update(items)
        return made
    return (OrderedDict if value["mapping"] == "OrderedDict" else dict)(items)


def _record(value: Any, reader: _Reader) -> Any:
    return RECORDS[value["record"]](dict(reader.items(value)))


def _sequence(value: Any, reader: _Reader) -> Any:
    items = [reader.decoded(item) for item in value["items"]]
    if value["sequence"] == "deque":
        return deque(items, value.get("most"))
    return SEQUENCES[value["sequence"]](items)


def _bytes(value: Any, reader: _Reader) -> Any:
    content = reader.array(value["bytes"]).tobytes()
    return bytearray(content) if value["of"] == "bytearray" else content


def _numpy_generator(value: Any, reader: _Reader) -> np.random.Generator:
    if value["numpy"] not in _BIT_GENERATORS:
        raise ValueError(f"unknown generator {value['numpy']!r}")
    bits = getattr(np.random, value["numpy"])()
    bits.state = reader.decoded(value["state"])
    return np.random.Generator(bits)


def _numpy_legacy(value: Any, reader: _Reader) -> np.random.RandomState:
    made = np.random.RandomState()
    made.set_state(reader.decoded(value["legacy"]))
    return made


def _python_generator(value: Any, reader: _Reader) -> random.Random:
    made = random.Random()  # noqa: S311 - the app has one
    made.setstate(_tuples(reader.decoded(value["python"])))
    return made


def _torch(value: Any, reader: _Reader) -> Any:
    import torch  # noqa: PLC0415  the app has it, or the state would hold no tensor

    return torch.from_numpy(reader.array(value["tensor"]))


_READ: Final[Mapping[str, Callable[[Any, _Reader], Any]]] = {
    "int": lambda value, _: int(value["int"]),
    "float": lambda value, _: float.fromhex(value["float"]),
    "bytes": _bytes,
    "flower": lambda value, reader: to_array(reader.array(value["flower"])),
    "record": _record,
    "numpy": _numpy_generator,
    "legacy": _numpy_legacy,
    "python": _python_generator,
    "mapping": _mapping,
    "sequence": _sequence,
    "tensor": _torch,
    "array": lambda value, reader: reader.array(value["array"]),
    "scalar": lambda value, reader: reader.array(value["scalar"])[()],
}


def _tuples(value: Any) -> Any:
    """Return nested lists as tuples: the state of Python's generator."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
