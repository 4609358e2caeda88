"""An Array is made from a NumPy array, and back, in microseconds: a model may have thousands.

The bytes are those of `numpy.save`. What is not an ordinary array goes Flower's own way, with its errors; but
a header that no NumPy writes, such as the shape `(02,)`, may be read where Flower refuses it.
"""

import struct
from functools import wraps
from typing import Any, Final

import numpy as np
from flwr.common.record.array import Array

from oneflower.flower.api import SType
from oneflower.flower.records import ordinary_view, to_array
from oneflower.flower.v1_25.workarounds.registry import Patch, Program, Purpose, Workaround

KINDS: Final = "biuf"
FIELDS: Final = frozenset({"dtype", "shape", "stype", "data"})
TYPES: Final = (str, tuple, str, bytes)


def make_quickly(patch: Patch) -> None:
    """Replace what `Array` does for each array, where it is an ordinary one."""
    init, from_ndarray, to_ndarray = Array.__init__, Array.from_numpy_ndarray, Array.numpy

    @wraps(init)
    def quick_init(self: Any, *arguments: Any, **named: Any) -> None:
        if not arguments and named.keys() == FIELDS and _is_plain(**named):
            self.__dict__.update(named, _is_dirty=True)
        else:
            init(self, *arguments, **named)

    def from_numpy_ndarray(_cls: Any, ndarray: Any) -> Any:
        ordinary = type(ndarray) is np.ndarray and ndarray.dtype.kind in KINDS and ndarray.flags.c_contiguous
        return to_array(ndarray) if ordinary else from_ndarray(ndarray)

    @wraps(to_ndarray)
    def numpy(self: Any) -> Any:
        view = None
        if self.stype == SType.NUMPY:
            try:
                view = ordinary_view(self.data)
            except (ValueError, TypeError, struct.error):
                view = None  # Flower says what is wrong with it
        return to_ndarray(self) if view is None else view.copy()

    patch(Array, "__init__", quick_init)
    patch(Array, "from_numpy_ndarray", classmethod(wraps(from_ndarray)(from_numpy_ndarray)))
    patch(Array, "numpy", numpy)


def _is_plain(dtype: Any, shape: Any, stype: Any, data: Any) -> bool:
    if (type(dtype), type(shape), type(stype), type(data)) != TYPES:
        return False
    return all(type(length) is int for length in shape)


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
    },
    apply=make_quickly,
)
