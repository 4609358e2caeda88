"""Between Flower's serialised arrays and NumPy, without copying a model more often than must be."""

import math
import re
import struct
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from numpy.lib import format as npy

from oneflower.aggregation import AggregationError, NDArray
from oneflower.flower.api import Array, ArrayRecord, SType
from oneflower.flower.memory import LEAST_FOR_HUGE_PAGES, ask_for_huge_pages, unwritten_bytes

HEADER = re.compile(
    rb"\{'descr': '([<>|=][biuf][0-9]{1,2})', 'fortran_order': (True|False), "
    rb"'shape': \(([0-9, ]*)\),? *\} *\n"
)
"""What numpy.save writes for plain numbers. NumPy's own parser falls back on Python's tokenizer, which
fails in many ways on a header that a client made up."""

OTHER = re.compile(rb"\{'descr': '[<>|=]([cUSOMmV])")
REMEDIES = {
    b"c": ("complex numbers", "send their real and imaginary parts as two arrays"),
    b"U": ("text", "send it in a ConfigRecord"),
    b"S": ("bytes", "send them as an array of uint8, or in a ConfigRecord"),
    b"O": ("Python objects", "send numbers"),
    b"M": ("dates", "send them as numbers"),
    b"m": ("times", "send them as numbers"),
    b"V": ("records of fields, or a type that NumPy does not know", "send each field, or float32"),
}
"""By NumPy's letter for the type of an array that cannot be read: what it holds, and what to do."""
LONGEST_HEADER = 4096
"""NumPy pads a header to 64 bytes; no array of numbers needs more than a few hundred."""
CACHED_HEADER = 512
USUAL_HEADER = 128
"""What NumPy writes for plain numbers with less than ten axes or so."""

SMALL_BYTES = 1 << 16
"""What is smaller is copied twice in less time than its parts are put together."""

Form = tuple[tuple[int, ...], bool, np.dtype[Any]]

LENGTHS = {b"\x01\x00": ("<H", 10), b"\x02\x00": ("<I", 12)}
"""By format version: how the header's length is packed at byte 8, and where the header begins."""


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
    try:
        return _view(array.data)
    except (ValueError, TypeError, struct.error) as error:
        raise AggregationError(
            f"not readable as a NumPy array ({error}); expected what numpy.save writes"
        ) from error


def ordinary_view(data: bytes) -> NDArray | None:
    """Return a view of what `numpy.save` wrote; None of an array in Fortran's order.

    Raises
    ------
    ValueError, TypeError, struct.error
        It is none of an ordinary dtype.
    """
    view = _usual_view(data)
    if view is not None:
        return view
    _, fortran_order, _ = _form_of(_header_of(data))
    return None if fortran_order else _view(data)


def _view(data: bytes | memoryview) -> NDArray:
    view = _usual_view(data)
    if view is not None:
        return view
    header = _header_of(data)
    shape, fortran_order, dtype = _form_of(header)
    count = math.prod(shape)  # Python integers: NumPy's product would overflow silently
    if count * dtype.itemsize != len(data) - len(header):
        raise ValueError(f"{len(data) - len(header)} bytes for {dtype} of shape {list(shape)}")
    flat = np.frombuffer(data, dtype, count, len(header)) if count else np.empty(0, dtype)
    view = flat.reshape(shape, order="F" if fortran_order else "C")
    return np.ascontiguousarray(view).reshape(shape)


def _usual_view(data: bytes | memoryview) -> NDArray | None:
    """Return a view where the header is of the usual length and known; None where more must be looked at."""
    usual = _usual_form(bytes(data[:USUAL_HEADER]))
    if usual is None:
        return None
    shape, dtype, count, size = usual
    return np.frombuffer(data, dtype, count, USUAL_HEADER).reshape(shape) if len(data) == size else None


@lru_cache(maxsize=1024)  # the same for every client and round
def _usual_form(header: bytes) -> tuple[tuple[int, ...], np.dtype[Any], int, int] | None:
    """Return shape, dtype, the number of values and of bytes with the header, of values in C order."""
    try:
        whole = _header_of(header)
        shape, fortran_order, dtype = _parsed(whole)
    except (ValueError, TypeError, struct.error):
        return None  # who reads it in full says why
    count = math.prod(shape)
    if fortran_order or not count or len(whole) != USUAL_HEADER:
        return None
    return shape, dtype, count, USUAL_HEADER + count * dtype.itemsize


def _header_of(data: bytes | memoryview) -> bytes:
    begin = bytes(data[:8])
    version = begin[6:] if begin.startswith(npy.MAGIC_PREFIX) else b""
    if version not in LENGTHS:
        raise ValueError(f"it begins with {begin!r}")
    form, start = LENGTHS[version]
    length: int = start + struct.unpack_from(form, data, 8)[0]
    if length > LONGEST_HEADER:
        raise ValueError(f"its header has {length} bytes; at most {LONGEST_HEADER} are read")
    if length > len(data):
        raise ValueError(f"its header has {length} bytes, of which {len(data)} are there")
    return bytes(data[:length])


def _form_of(header: bytes) -> Form:
    return _known(header) if len(header) <= CACHED_HEADER else _parsed(header)


@lru_cache(maxsize=1024)  # the same for every client and round
def _known(header: bytes) -> Form:
    return _parsed(header)


def _parsed(header: bytes) -> Form:
    match = HEADER.fullmatch(header, LENGTHS[header[6:8]][1])
    if match is None:
        other = OTHER.match(header, LENGTHS[header[6:8]][1])
        if other is not None:
            what, remedy = REMEDIES[other[1]]
            raise ValueError(f"it holds {what}; {remedy}")
        raise ValueError(f"its header is {header[10:90]!r}")
    descr, fortran_order, lengths = match.groups()
    shape = tuple(int(length) for length in lengths.replace(b" ", b"").split(b",") if length)
    return shape, fortran_order == b"True", np.dtype(descr.decode())


def array_views(record: ArrayRecord) -> dict[str, NDArray]:
    """Return views of all arrays of a record, by name; the text of an AggregationError names the array."""
    views = {}
    for name, array in record.items():
        try:
            views[name] = array_view(array)
        except AggregationError as error:
            raise AggregationError(f"array {name!r}: {error}") from error
    return views


def bytes_of(record: ArrayRecord) -> int:
    """Return how many bytes the arrays of a record have, serialised."""
    return sum(len(array.data) for array in record.values())


def to_array(values: NDArray) -> Array:
    """Serialise an array with one copy; the bytes are those that Flower itself would write."""
    dtype, shape = values.dtype, values.shape
    if values.nbytes < SMALL_BYTES:
        data = _header(dtype, shape) + values.tobytes()
    else:
        contiguous = np.ascontiguousarray(values)
        data = b"".join((_header(dtype, shape), contiguous.reshape(-1).view(np.uint8).data))
    return Array(dtype=_name_of(dtype), shape=shape, stype=SType.NUMPY, data=data)


@lru_cache(maxsize=256)
def _name_of(dtype: np.dtype[Any]) -> str:
    return str(dtype)


def to_record(arrays: dict[str, NDArray], names: tuple[str, ...]) -> ArrayRecord:
    """Serialise a model in the order of `names`; `arrays` is emptied on the way, so that memory is freed."""
    return ArrayRecord({name: to_array(arrays.pop(name)) for name in names})


class NewModel:
    """Memory for a new model that turns into Flower Arrays without being copied.

    A rule writes its result straight into the bytes that Flower sends: with ten million weights the copy
    would cost as much as a third of the mean itself.
    """

    def __init__(self) -> None:
        self._streams: dict[str, BytesIO] = {}

    def allocate(self, name: str, like: NDArray) -> NDArray:
        """Return memory of this shape and dtype for the array of this name; its values are yet to be set."""
        if like.nbytes < SMALL_BYTES:
            return np.empty(like.shape, like.dtype)
        header = _header(like.dtype, like.shape)
        stream = BytesIO(unwritten_bytes(len(header) + like.nbytes))
        stream.write(header)
        self._streams[name] = stream
        values = np.frombuffer(stream.getbuffer(), like.dtype, offset=len(header)).reshape(like.shape)
        ask_for_huge_pages(values)
        return values

    def to_record(self, arrays: dict[str, NDArray], names: tuple[str, ...]) -> ArrayRecord:
        """Return the model in the order of `names`; `arrays` is emptied on the way.

        An array that was not allocated here is copied.
        """
        return ArrayRecord({name: self._to_array(name, arrays.pop(name)) for name in names})

    def _to_array(self, name: str, values: NDArray) -> Array:
        if name not in self._streams and values.nbytes >= LEAST_FOR_HUGE_PAGES:
            values, given = self.allocate(name, values), values
            values[...] = given
        stream = self._streams.pop(name, None)
        if stream is None:
            return to_array(values)
        dtype, shape = _name_of(values.dtype), values.shape
        del values  # as long as a view exists, getvalue copies
        return Array(dtype=dtype, shape=shape, stype=SType.NUMPY, data=stream.getvalue())


@lru_cache(maxsize=4096)
def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    stream = BytesIO()
    fields = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(stream, fields)
    return stream.getvalue()
