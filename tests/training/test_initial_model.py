"""FL_INITIAL_MODEL: a training starts from the weights of a file, once, and from no other model."""

import json
import struct

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

from oneflower.checkpoints import CheckpointStore, model_digest
from oneflower.errors import SettingsError
from oneflower.flower.records import array_views
from oneflower.training.initial_model import NOTE
from oneflower.training.weight_files import UnreadableError, read_weights

from ..federation import Federation, initial_arrays

WEIGHTS = {
    "weight": np.full((6, 4), 3.0, np.float32),
    "bias": np.arange(4, dtype=np.float32),
    "bn.num_batches_tracked": np.array(5, np.int64),
}


def saved(path, weights=WEIGHTS):
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
    match path.suffix:
        case ".npz":
            np.savez(path, **weights)
        case ".safetensors":
            save_file(weights, path)
        case _:
            torch.save({"state_dict": tensors} if path.suffix == ".pth" else tensors, path)
    return path


@pytest.fixture
def federation(tmp_path):
    return Federation(folder=tmp_path / "checkpoints")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt", ".pth"])
def test_a_training_starts_from_the_weights_of_a_file(federation, tmp_path, suffix):
    """The result is that of an app whose own model has these weights."""
    path = saved(tmp_path / f"model{suffix}")
    found = read_weights(path)
    assert model_digest(found) == model_digest(WEIGHTS)
    result = federation.train(initial_model=str(path))
    from flwr.app import ArrayRecord
    from flwr.common import Array

    own = ArrayRecord({name: Array(WEIGHTS[name]) for name in initial_arrays()})
    other = Federation(folder=tmp_path / "other").train(arrays=own)
    assert model_digest(array_views(result.arrays)) == model_digest(array_views(other.arrays))


def test_a_resume_does_not_read_it_and_the_digest_is_kept(federation, tmp_path):
    path = saved(tmp_path / "model.npz")
    federation.train(initial_model=str(path), num_server_rounds=2)
    path.unlink()
    whole = federation.train(initial_model=str(path), num_server_rounds=4)
    with CheckpointStore(federation.folder) as store:
        assert store.latest().notes[NOTE] == model_digest(WEIGHTS)
    saved(path)
    other = Federation(folder=tmp_path / "other").train(initial_model=str(path), num_server_rounds=4)
    assert model_digest(array_views(whole.arrays)) == model_digest(array_views(other.arrays))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bias": np.zeros(5, np.float32)}, r"bias is float32\[5\] in the file and float32\[4\] in the app"),
        ({"bias": np.zeros(4)}, r"bias is float64\[4\] in the file"),
        ({"more": np.zeros(1)}, "more is not in the app"),
        ({"weight": None}, "weight is missing in the file"),
    ],
)
def test_another_model_is_refused_with_the_differences(federation, tmp_path, change, said):
    given = {name: array for name, array in {**WEIGHTS, **change}.items() if array is not None}
    with pytest.raises(SettingsError, match=said):
        federation.train(initial_model=str(saved(tmp_path / "model.npz", given)))


def test_a_file_that_is_missing_is_refused(federation, tmp_path):
    with pytest.raises(SettingsError, match=r"No such file.*or leave FL_INITIAL_MODEL empty"):
        federation.train(initial_model=str(tmp_path / "none.npz"))


def header(rows, body=b""):
    text = json.dumps(rows).encode()
    return struct.pack("<Q", len(text)) + text + body


HOSTILE = {
    "a.npz": b"PK\x03\x04 cut off",
    "objects.npz": None,
    "a.safetensors": b"\xff" * 40,
    "b.safetensors": b"123",
    "c.safetensors": header([1]),
    "d.safetensors": header({"w": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4]}}, bytes(4)),
    "e.safetensors": header({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)),
    "f.safetensors": header({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(4)),
    "g.safetensors": header({"w": {"dtype": "F32", "shape": [1]}}),
    "h.safetensors": struct.pack("<Q", 10**9) + b"[" * 1000,
    "a.pt": b"not a zip",
    "a.bin": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_of_another_kind_is_refused_and_nothing_of_it_is_run(tmp_path, name):
    path = tmp_path / name
    if HOSTILE[name] is None:
        np.savez(path, w=np.array([{"a": 1}], dtype=object))
    else:
        path.write_bytes(HOSTILE[name])
    with pytest.raises(UnreadableError, match=r"\w+ \w+"):
        read_weights(path)


class Runs:
    def __reduce__(self):
        return (open, ("/tmp/oneflower-must-not-be-written", "w"))


def test_a_pickle_of_pytorch_runs_nothing(tmp_path):
    torch.save({"w": Runs()}, tmp_path / "a.pt")
    with pytest.raises(UnreadableError, match="no file of weights alone"):
        read_weights(tmp_path / "a.pt")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_bfloat16_is_refused_with_the_name_and_the_remedy(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    tensors = {"w": torch.ones(2, dtype=torch.bfloat16)}
    save_torch_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    with pytest.raises(UnreadableError, match=r"'w'.*save it as"):
        read_weights(path)
