"""Between Flower's serialised arrays and NumPy, without copying a model more often than must be."""

from io import BytesIO
from typing import Any

import numpy as np
from flwr.common import Array, ArrayRecord
from flwr.common.constant import SType
from numpy.lib import format as npy

from oneflower.aggregation import AggregationError, Arrays, NDArray

HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def array_view(array: Array) -> NDArray:
    """Return a read-only view of the bytes that a Flower Array carries.

    Flower's own `Array.numpy()` copies. Only an array in Fortran order is copied here. The bytes come
    from a client: nothing is unpickled, and no memory is taken on the word of a header.

    Raises
    ------
    AggregationError
        The bytes are not one array in NumPy's format, or hold Python objects.
    """
    if array.stype != SType.NUMPY:
        raise AggregationError(
            f"serialised as {array.stype!r}; expected {SType.NUMPY!r}: send NumPy arrays or tensors"
        )
    stream = BytesIO(array.data)  # shares the bytes until someone writes
    try:
        shape, fortran_order, dtype = HEADER_READERS[npy.read_magic(stream)](stream)
        flat = _values(array.data, stream.tell(), shape, dtype)
        view = flat.reshape(shape, order="F" if fortran_order else "C")
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError, RecursionError) as error:
        raise AggregationError(
            f"not readable as a NumPy array ({error}); expected what numpy.save writes"
        ) from error
    return np.ascontiguousarray(view).reshape(shape)


def _values(data: bytes, start: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray:
    if dtype.hasobject or dtype.itemsize == 0:
        raise ValueError(f"dtype {dtype} has no plain values")
    count = 1
    for length in shape:
        count *= length  # Python integers: NumPy's product would overflow silently
    if count < 0 or count * dtype.itemsize != len(data) - start:
        raise ValueError(f"{len(data) - start} bytes for {dtype} of shape {list(shape)}")
    if not count:
        return np.empty(0, dtype)
    return np.frombuffer(data, dtype, count, start)


def array_views(record: ArrayRecord) -> dict[str, NDArray]:
    """Return views of all arrays of a record, by name."""
    return {name: array_view(array) for name, array in record.items()}


def to_array(values: NDArray) -> Array:
    """Serialise an array with one copy; the bytes are those that Flower itself would write."""
    contiguous = np.ascontiguousarray(values).reshape(values.shape)
    header = BytesIO()
    npy.write_array_header_1_0(header, npy.header_data_from_array_1_0(contiguous))
    raw = contiguous.reshape(-1).view(np.uint8)
    return Array(
        dtype=str(values.dtype),
        shape=tuple(values.shape),
        stype=SType.NUMPY,
        data=b"".join((header.getvalue(), raw.data)),
    )


def to_record(arrays: Arrays, names: tuple[str, ...]) -> ArrayRecord:
    """Serialise a model in the order of `names`; each array is let go of as soon as it is written."""
    remaining = dict(arrays)
    del arrays
    return ArrayRecord({name: to_array(remaining.pop(name)) for name in names})
