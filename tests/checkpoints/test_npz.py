"""The bytes of a model file: the same arrays give the same bytes, and NumPy reads them back."""

import hashlib
import io
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from oneflower.checkpoints import model_digest
from oneflower.checkpoints.npz import check_storable, npz_pieces
from oneflower.checkpoints.npz_reading import read_npz
from oneflower.errors import CheckpointError

DTYPES = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes(endianness="=")
    | hnp.unsigned_integer_dtypes(endianness=">")
    | hnp.floating_dtypes(endianness="?")
    | hnp.complex_number_dtypes()
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
MODELS = st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=5)


def file_of(arrays):
    return b"".join(npz_pieces(arrays))


def equal(left, right):
    return (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())


@given(MODELS)
def test_any_named_arrays_load_bit_for_bit(arrays):
    rows = {name: (array.shape, array.dtype.str) for name, array in arrays.items()}
    back = read_npz(io.BytesIO(file_of(arrays)), rows)
    assert set(back) == set(arrays)
    assert all(equal(back[name], arrays[name]) for name in arrays)


@given(MODELS)
def test_numpy_load_reads_the_file_without_pickle(arrays):
    with np.load(io.BytesIO(file_of(arrays)), allow_pickle=False) as archive:
        for name in arrays:
            if f"{name}.npy" not in arrays and not name.endswith(".npy"):  # NumPy cannot tell these apart
                assert equal(archive[name], arrays[name])


@given(MODELS, st.randoms())
def test_the_digest_is_that_of_the_file_and_does_not_depend_on_the_order_of_the_arrays(arrays, random):
    names = list(arrays)
    random.shuffle(names)
    assert model_digest({name: arrays[name] for name in names}) == hashlib.sha256(file_of(arrays)).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        {"b": np.zeros((2, 3), np.float32)},
        {"a": np.zeros((3, 2), np.float32)},
        {"a": np.zeros((2, 3), np.int32)},
        {"a": np.full((2, 3), -0.0, np.float32)},
    ],
    ids=["name", "shape", "dtype", "bits"],
)
def test_the_digest_differs_for_another(other):
    assert model_digest(other) != model_digest({"a": np.zeros((2, 3), np.float32)})


def test_the_digest_of_a_known_model_never_changes():
    arrays = {"b": np.arange(6, dtype="<f4").reshape(2, 3), "a": np.array(7, dtype="<i8")}
    assert model_digest(arrays) == "34ac741b1078d38cd473c5d70f7e2ce62fc4cbe43ff08231f6e2ae00f1cff049"


def test_the_layout_in_memory_does_not_change_the_bytes():
    array = np.arange(12.0).reshape(3, 4)
    for same in (np.asfortranarray(array), np.arange(24.0).reshape(3, 8)[:, ::2] / 2, array.copy()):
        assert file_of({"a": same}) == file_of({"a": array})


def test_large_arrays_are_passed_on_without_a_copy():
    array = np.zeros(1000)
    views = [piece for piece in npz_pieces({"a": array}) if len(piece) == array.nbytes]
    array[0] = 1.0
    assert np.frombuffer(views[0])[0] == 1.0


@pytest.mark.parametrize(
    "array", [np.array([None]), np.array(["a"]), np.array([b"a"]), np.zeros(2, "V4"), np.zeros(1, "M8[s]")]
)
def test_arrays_that_are_not_numbers_are_refused(array):
    with pytest.raises(CheckpointError, match="expected booleans, integers, floats or complex"):
        file_of({"a": array})


@pytest.mark.parametrize(
    ("array", "remedy"),
    [
        (np.zeros(2, "V2"), r"has dtype \|V2: .* NumPy has no bfloat16 or float8: send it as float32"),
        (np.array([None]), "has dtype object: .* send each part as an array of its own"),
        (np.array(["a"]), "has dtype <U1: .* Text is not a weight"),
        (np.zeros(1, "M8[s]"), r"has dtype datetime64\[s\]: .* \.astype\('int64'\)"),
        (torch.eye(2).to_sparse(), r"is a torch\.Tensor: expected a NumPy array. .*\.to_dense"),
    ],
)
def test_an_array_that_cannot_be_stored_is_named_with_how_to_fix_it(array, remedy):
    with pytest.raises(CheckpointError, match=f"array 'w' {remedy}"):
        check_storable({"fine": np.zeros(2), "w": array})


def test_a_name_with_nul_is_refused_because_zip_would_truncate_it():
    with pytest.raises(CheckpointError, match="NUL"):
        file_of({"a\0b": np.zeros(1)})


def test_other_zip_tools_accept_the_file(tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(file_of({"weight": np.arange(5.0), "größe": np.array(1)}))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert [entry.date_time for entry in archive.infolist()] == [(1980, 1, 1, 0, 0, 0)] * 2
    command = [sys.executable, "-m", "zipfile", "-t", str(path)]
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


def test_a_file_beyond_four_gigabytes_keeps_its_offsets(monkeypatch):
    """The zip directory of a huge model, checked without its data: every size and offset has 64 bits."""
    from oneflower.checkpoints import npz

    entry = npz._directory_entry(b"a.npy", 1, 5 << 32, 7 << 32)
    end = npz._end_of_directory([entry], (1 << 32) + 1)
    assert (5 << 32).to_bytes(8, "little") in entry
    assert (7 << 32).to_bytes(8, "little") in entry
    assert ((1 << 32) + 1).to_bytes(8, "little") in end
