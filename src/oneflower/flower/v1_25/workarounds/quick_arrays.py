"""An Array is made, read and put in a record in microseconds: a model may have thousands.

The bytes are those of `numpy.save`. What is not an ordinary array goes Flower's own way, with its errors; but
a header that no NumPy writes, such as the shape `(02,)`, may be read where Flower refuses it.
"""

import struct
from functools import wraps
from typing import Any, Final

import numpy as np
from flwr.common.record.array import Array
from flwr.common.record.arrayrecord import ArrayRecord

from oneflower.flower.api import SType
from oneflower.flower.records import ordinary_view, to_array
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround

KINDS: Final = "biuf"
FIELDS: Final = frozenset({"dtype", "shape", "stype", "data"})
TYPES: Final = (str, tuple, str, bytes)


def make_quickly(patch: Patch) -> None:
    """Replace what `Array` and `ArrayRecord` do for each array, where it is an ordinary one."""
    init, from_ndarray, to_ndarray, record_init = (
        Array.__init__,
        Array.from_numpy_ndarray,
        Array.numpy,
        ArrayRecord.__init__,
    )

    @wraps(init)
    def quick_init(self: Any, *arguments: Any, **named: Any) -> None:
        if not arguments and named.keys() == FIELDS and _is_plain(**named):
            self.__dict__.update(named, _is_dirty=True)
        elif len(arguments) == 1 and not named and _is_ordinary(arguments[0]):
            self.__dict__.update(to_array(arguments[0]).__dict__)
        else:
            init(self, *arguments, **named)

    def from_numpy_ndarray(_cls: Any, ndarray: Any) -> Any:
        return to_array(ndarray) if _is_ordinary(ndarray) else from_ndarray(ndarray)

    @wraps(to_ndarray)
    def numpy(self: Any) -> Any:
        view = None
        if self.stype == SType.NUMPY:
            try:
                view = ordinary_view(self.data)
            except (ValueError, TypeError, struct.error):
                view = None  # Flower says what is wrong with it
        return to_ndarray(self) if view is None else view.copy()

    @wraps(record_init)
    def quick_record(self: Any, *arguments: Any, **named: Any) -> None:
        copies = _copies(arguments[0]) if len(arguments) == 1 and not named else None
        if not copies:
            record_init(self, *arguments, **named)
            return
        record_init(self)
        self.__dict__["_data"].update(copies)
        self.__dict__["_is_dirty"] = True

    patch(Array, "__init__", quick_init)
    patch(Array, "from_numpy_ndarray", classmethod(wraps(from_ndarray)(from_numpy_ndarray)))
    patch(Array, "numpy", numpy)
    patch(ArrayRecord, "__init__", quick_record)


def _is_ordinary(value: Any) -> bool:
    return type(value) is np.ndarray and value.dtype.kind in KINDS and value.flags.c_contiguous


def _is_plain(dtype: Any, shape: Any, stype: Any, data: Any) -> bool:
    if (type(dtype), type(shape), type(stype), type(data)) != TYPES:
        return False
    for length in shape:  # noqa: SIM110 - a generator takes as long as all the rest
        if type(length) is not int:
            return False
    return True


def _copies(given: Any) -> dict[str, Array] | None:
    """Return a new Array for each of a dictionary, as Flower makes them; None of anything else."""
    if type(given) is not dict:
        return None
    copies = {}
    for name, array in given.items():
        if type(name) is not str or type(array) is not Array:
            return None
        form = array.dtype, array.shape, array.stype, array.data
        if not _is_plain(*form):
            return None
        copies[name] = copy = object.__new__(Array)
        dtype, shape, stype, data = form
        copy.__dict__.update(dtype=dtype, shape=shape, stype=stype, data=data, _is_dirty=True)
    return copies


WORKAROUND = Workaround(
    name="quick-arrays",
    purpose=Purpose.SPEED,
    effect="Each array of a model takes 50 to 70 microseconds in each direction, of 2,000 arrays 0.1 s each "
    "time that an app reads or sends them.",
    cause="a file in memory: record/array.py:229, 258; checks and closures for each: record/array.py:182",
    programs=frozenset({Program.SERVERAPP, Program.CLIENTAPP}),
    sources={
        "flwr.common.record.array": {
            "Array": "2a9b91296981",
            "Array.__init__": "1bee5bf070c3",
            "Array.from_numpy_ndarray": "707d56acb122",
            "Array.numpy": "3e01beebfff1",
            "Array.is_dirty": "5cdbe2e02a0b",
        },
        "flwr.common.record.arrayrecord": {
            "ArrayRecord.__init__": "1fd39ed16cf1",
            "ArrayRecord.from_array_dict": "108f6608ec1c",
            "ArrayRecord.__setitem__": "403c4eeadca9",
        },
        "flwr.common.record.typeddict": {
            "TypedDict.__init__": "9d57959acd1c",
            "TypedDict.__setitem__": "3abed9f351a5",
        },
    },
    apply=make_quickly,
)
