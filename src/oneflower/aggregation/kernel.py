"""Calls of the compiled kernel: what may be handed to it, and how.

A pointer is passed only of memory that was checked: one native dtype of the kernel, one dimension, one
length, contiguous and aligned. Other arrays are left to NumPy, which gives the same bytes. ctypes releases
the interpreter's lock during a call.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oneflower.aggregation.blocks import BLOCK, Rows, Whole, blocks
from oneflower.aggregation.networks import Comparator, program_of
from oneflower.aggregation.updates import NDArray

SUFFIXES: dict[np.dtype[Any], str] = {np.dtype(np.float32): "_f32", np.dtype(np.float64): "_f64"}
STRIP = 128
"""Coordinates that a network sorts at a time: all wires of 50 clients stay in the nearest cache."""
TILE, DEPTH, VECTOR_BYTES, LINE_BYTES = 3, 64, 32, 64
"""Of kernel.c."""
Float64s = npt.NDArray[np.float64]


class Formula(IntEnum):
    """Which step a server optimizer takes; the kernel's numbers."""

    ADAM = 0
    YOGI = 1
    ADAGRAD = 2
    MOMENTUM = 3

    @property
    def moments(self) -> int:
        """How many moments it keeps."""
        return 2 if self in (Formula.ADAM, Formula.YOGI) else 1


@dataclass(frozen=True, slots=True)
class Tops:
    """The largest absolute values that the step of an array meets; NaN and infinity count as larger than any.

    Attributes
    ----------
    change, before, after
        Of mean - x, of x and of the mean.
    moments
        Of each moment.
    signed
        Whether a moment holds a value with the sign of a negative.
    """

    change: NDArray
    before: NDArray
    after: NDArray
    moments: tuple[NDArray, ...]
    signed: tuple[bool, ...]


class Kernel:
    """The functions of one shared library.

    Raises
    ------
    OSError
        The system cannot load the library.
    AttributeError
        It lacks a function.
    """

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        library.oneflower_source.restype = ctypes.c_char_p
        self.source = bytes(library.oneflower_source()).decode()
        names = ("mean", "mean_and_tops", "step", "trimmed", "finite")
        self._calls = {
            (name, dtype): getattr(library, name + suffix)
            for dtype, suffix in SUFFIXES.items()
            for name in names
        }
        self._means: dict[int, Whole] = {}
        self._products = {
            (np.dtype(np.float32), np.dtype(np.float32)): library.products_f32,
            (np.dtype(np.float32), np.dtype(np.float64)): library.products_f32_f64,
            (np.dtype(np.float64), np.dtype(np.float64)): library.products_f64,
        }
        self._largest, self._fold = library.oneflower_largest, library.oneflower_fold
        self._largest.restype, self._settle = ctypes.c_float, library.oneflower_settle

    def mean(self, shares: Sequence[float]) -> Whole:
        """Return the weighted mean of whole arrays."""

        def whole(_name: str, rows: Rows, out: NDArray) -> Sequence[slice]:
            if not _suit(rows, out) or len(rows) != len(shares):
                return tuple(blocks(out.size))
            factors = np.array(shares, out.dtype)
            finite = self._calls["mean", out.dtype](
                _size(len(rows)), _pointers(rows), _pointer(factors), _size(out.size), _pointer(out)
            )
            return () if finite else tuple(blocks(out.size))

        return whole

    def mean_and_tops(
        self, shares: Sequence[float], rows: Rows, out: NDArray, x: NDArray, moments: Rows
    ) -> Tops | None:
        """Fill `out` with the weighted mean; None, and nothing done, if the arrays do not suit."""
        if not _suit((*rows, x, *moments), out) or len(rows) != len(shares) or len(moments) > 2:
            return None
        factors, tops = np.array(shares, out.dtype), np.empty(3 + len(moments), out.dtype)
        signs = np.empty(len(moments), np.int32)
        self._calls["mean_and_tops", out.dtype](
            _size(len(rows)),
            _pointers(rows),
            _pointer(factors),
            _size(out.size),
            _pointer(out),
            _pointer(x),
            _size(len(moments)),
            _pointers(moments),
            _pointer(tops),
            _pointer(signs),
        )
        change, before, after, *largest = (tops[i : i + 1] for i in range(len(tops)))
        return Tops(change, before, after, tuple(largest), tuple(bool(sign) for sign in signs))

    def step(
        self, formula: Formula, constants: Sequence[float], x: NDArray, mean: NDArray, moments: Rows
    ) -> bool:
        """Step in place, `mean` becoming the new model; False, and nothing done, if the arrays do not suit.

        `constants` are rate, first decay and what is taken of the change, the second ones, and tau.
        """
        if not _suit((x,), mean) or not all(_suit((x,), moment) for moment in moments):
            return False
        if len(moments) != formula.moments or len(constants) != 6:
            return False
        given = np.array(constants, mean.dtype)
        self._calls["step", mean.dtype](
            ctypes.c_int(formula),
            _size(mean.size),
            _pointer(x),
            _pointer(mean),
            _pointers(moments),
            _pointer(given),
        )
        return True

    def trimmed(self, count: int, network: Sequence[Comparator], kept: range) -> Whole:
        """Return the mean of the wires `kept` after a network, of whole arrays."""
        program = program_of(count, network)
        ends, scratch = program.wires[kept.start : kept.stop], dict[np.dtype[Any], NDArray]()

        def whole(_name: str, rows: Rows, out: NDArray) -> Sequence[slice]:
            if not _suit(rows, out) or len(rows) != count:
                return tuple(blocks(out.size))
            wires = scratch.setdefault(out.dtype, _scratch(program.scratch, out.dtype))
            parts = tuple(blocks(out.size))
            left = np.zeros(len(parts), np.uint8)
            self._calls["trimmed", out.dtype](
                _size(count),
                _pointers(rows),
                _size(out.size),
                _size(BLOCK),
                _size(STRIP),
                _size(len(program.steps)),
                _pointer(program.steps),
                _size(len(ends)),
                _pointer(ends),
                _pointer(wires),
                _pointer(out),
                _pointer(left),
            )
            return tuple(part for part, here in zip(parts, left, strict=True) if here)

        return whole

    def plain_mean(self, rows: Rows, out: NDArray) -> bool:
        """Fill `out` with the mean of the rows; False if that is left to NumPy."""
        count = len(rows)
        if count not in self._means:
            self._means[count] = self.trimmed(count, (), range(count))
        return not self._means[count]("", rows, out)

    def products(self, rows: Rows | NDArray, work: np.dtype[Any]) -> Float64s | None:
        """Return the inner products of the rows' differences from the first, which are taken in dtype `work`.

        Shape (n, n); the first row and column are 0. None if the arrays do not suit. No rule may let these
        numbers into a model: NumPy's have other roundings.
        """
        call = self._products.get((rows[0].dtype, work))
        if call is None or not _alike(rows, rows[0]):
            return None
        count, lanes = len(rows), VECTOR_BYTES // work.itemsize
        tiles = -(-(count - 1) // TILE)
        packed = np.zeros(tiles * TILE * DEPTH * lanes, work)
        sums = np.zeros(tiles * (tiles + 1) // 2 * TILE * TILE * lanes)
        products = np.zeros((count, count))
        done = call(
            _size(count),
            _pointers(rows),
            _size(rows[0].size),
            _pointer(packed),
            _size(packed.size),
            _pointer(sums),
            _size(sums.size),
            _pointer(products),
        )
        return products if done else None

    def finite(self, values: NDArray) -> bool | None:
        """Return whether every value is a finite number; None if the array does not suit."""
        if values.dtype not in SUFFIXES or not _whole(values):
            return None
        return bool(self._calls["finite", values.dtype](_size(values.size), _pointer(values)))

    def largest(self, values: NDArray) -> float | None:
        """Return the largest absolute value of finite float32 values; None if the array does not suit."""
        if values.dtype != np.float32 or not _whole(values):
            return None
        return float(self._largest(_size(values.size), _pointer(values)))

    def fold(self, values: NDArray, factor: float, sums: NDArray) -> bool:
        """Add rint(values * factor), at most 2^57 each, to int64 sums; False if the arrays do not suit."""
        if not _paired(values, sums) or not sums.flags.writeable:
            return False
        self._fold(_size(values.size), _pointer(values), ctypes.c_double(factor), _pointer(sums))
        return True

    def settle(self, sums: NDArray, scale: float, total: float, out: NDArray) -> bool:
        """Set out = sums * scale / total in float64, rounded once more; False if the arrays do not suit."""
        if not _paired(out, sums) or not out.flags.writeable:
            return False
        numbers = ctypes.c_double(scale), ctypes.c_double(total)
        self._settle(_size(out.size), _pointer(sums), *numbers, _pointer(out))
        return True


def _suit(read: Rows, written: NDArray) -> bool:
    """Return whether all arrays can be walked by one pointer each."""
    return (
        written.dtype in SUFFIXES
        and bool(read)
        and written.flags.writeable
        and _whole(written)
        and _alike(read, written)
    )


def _alike(rows: Rows | NDArray, other: NDArray) -> bool:
    """Return whether all rows can be walked by one pointer each, as far as `other` goes, in its dtype."""
    dtype, size = other.dtype, other.size
    return all(row.dtype == dtype and row.size == size and _whole(row) for row in rows)


def _paired(values: NDArray, sums: NDArray) -> bool:
    """Return whether these are float32 values and as many int64 sums, each in one piece."""
    right = values.dtype == np.float32 and sums.dtype == np.int64 and values.size == sums.size
    return right and _whole(values) and _whole(sums)


def _whole(array: NDArray) -> bool:
    flags = array.flags
    return array.ndim == 1 and flags.c_contiguous and flags.aligned


def _scratch(wires: int, dtype: np.dtype[Any]) -> NDArray:
    return np.empty(wires * STRIP + (wires + 1) * LINE_BYTES // dtype.itemsize, dtype)


def _pointer(array: NDArray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.__array_interface__["data"][0])


def _pointers(arrays: Rows | NDArray) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(arrays))(*(array.__array_interface__["data"][0] for array in arrays))


_size = ctypes.c_size_t
