"""FL_INITIAL_MODEL: a training starts from the weights of a file, once, and from no other model."""

import io
import json
import os
import random
import re
import struct
import zipfile
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

from oneflower.checkpoints import CheckpointStore, model_digest
from oneflower.errors import SettingsError
from oneflower.flower.records import array_views
from oneflower.settings import Settings, resolve
from oneflower.training.initial_model import NOTE, check_initial_model_of
from oneflower.training.weight_files import UnreadableError, read_weights

from ..federation import Federation, initial_arrays

MOST = 1 << 24
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
    found = read_weights(path, MOST)
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


def archive(files, method=zipfile.ZIP_DEFLATED):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as opened:
        for name, data in files.items():
            opened.writestr(name, data)
    return packed.getvalue()


def npy(text):
    return np.lib.format.magic(1, 0) + struct.pack("<H", len(text) + 1) + text.encode() + b"\n"


def damaged_npz():
    packed = bytearray(archive({"w.npy": bytes(range(256)) * 20}))
    packed[60:70] = b"\xff" * 10
    return bytes(packed)


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
    "b.pt": b"PK\x03\x04 cut off",
    "i.safetensors": header({"w": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
    "j.safetensors": header({"w": {"dtype": "F32", "shape": [0, 2**80], "data_offsets": [0, 0]}}),
    "k.safetensors": header({"w": {"dtype": "F32", "shape": [1] * 99, "data_offsets": [0, 4]}}, bytes(4)),
    "b.npz": archive({"w": b"junk"}),
    "c.npz": archive({"w.npy": b"junk"}),
    "d.npz": archive(
        {"w.npy": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999, ), }")}
    ),
    "e.npz": archive({"w.npy": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, ), }")}),
    "f.npz": archive({"w.npy": npy("{'descr': '<U4', 'fortran_order': False, 'shape': (0, ), }")}),
    "g.npz": archive({"w.npy": npy("{[]: 1}")}),
    "h.npz": archive({"w.npy": npy("(" * 3000)}),
    "i.npz": archive({"w.npy": b"", "w": b""}),
    "j.npz": damaged_npz(),
    "k.npz": archive({"w.npy": bytes(MOST + 1)}),
    "l.pt": archive({"archive/data.pkl": bytes(MOST + 1)}),
    "m.npz": bytes(MOST + 1),
    "n.npz": archive({"w.npy": b""}, zipfile.ZIP_LZMA),
    "o.npz": np.lib.format.magic(1, 0) + b"one array",
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
        read_weights(path, MOST)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
def test_mutations_of_a_file_raise_nothing_else(tmp_path, suffix):
    rng, good, changed = random.Random(16), saved(tmp_path / f"model{suffix}"), tmp_path / f"changed{suffix}"
    data = good.read_bytes()
    for _ in range(300):
        content = bytearray(data)
        for _ in range(rng.randint(1, 6)):
            content[rng.randrange(len(content))] = rng.choice([0, 255, rng.randrange(256)])
        if rng.random() < 0.2:
            del content[rng.randrange(len(content)) :]
        changed.write_bytes(content)
        with suppress(UnreadableError):
            found = read_weights(changed, MOST)
            assert all(isinstance(array, np.ndarray) for array in found.values())
            assert sum(array.nbytes for array in found.values()) < MOST


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_regular_file_is_refused_at_once(federation, tmp_path, suffix, kind):
    path = tmp_path / f"model{suffix}"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to("/dev/zero")
    with pytest.raises(SettingsError, match="FL_INITIAL_MODEL") as told:
        federation.train(initial_model=str(path))
    assert told.value.exit_code == 2


def test_a_file_may_have_four_times_the_model_and_no_more(federation, tmp_path):
    """The bound is stated, and nothing of the file is read: a hole of 10 GB takes no room."""
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(SettingsError, match=r"has 10737418240 bytes, and at most 167\d+ are read: 4 times"):
        federation.train(initial_model=str(path))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused_with_the_array(federation, tmp_path, value):
    """The clients would be named as failed, who did nothing wrong."""
    bias = np.array([0, 1, value, 3], np.float32)
    with pytest.raises(SettingsError, match=r"array 'bias' holds NaN or infinity.*diverged"):
        federation.train(initial_model=str(saved(tmp_path / "model.npz", {**WEIGHTS, "bias": bias})))


class Runs:
    def __reduce__(self):
        return (open, ("/tmp/oneflower-must-not-be-written", "w"))


def test_a_pickle_of_pytorch_runs_nothing(tmp_path):
    torch.save({"w": Runs()}, tmp_path / "a.pt")
    with pytest.raises(UnreadableError, match="no file of weights alone"):
        read_weights(tmp_path / "a.pt", MOST)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_bfloat16_is_refused_with_the_name_and_the_remedy(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    tensors = {"w": torch.ones(2, dtype=torch.bfloat16)}
    save_torch_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    with pytest.raises(UnreadableError, match=r"'w'.*save it as"):
        read_weights(path, MOST)


SETTINGS = {"initial_model": "/nowhere/model.npz", "checkpoint_enabled": True}


@pytest.mark.parametrize("name", ["missing.npz", "folder.pt", "pipe.npz", "model.txt"])
def test_what_is_no_file_of_weights_is_found_before_anything_starts(tmp_path, name):
    """Under `up` the whole cluster was started before."""
    (tmp_path / "folder.pt").mkdir()
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "model.txt").write_text("weights")
    settings = Settings(**SETTINGS | {"initial_model": str(tmp_path / name)})
    with pytest.raises(SettingsError, match=r"FL_INITIAL_MODEL is .* cannot be used: .*Expected a"):
        check_initial_model_of(replace(settings, checkpoint_path=str(tmp_path / "none")))


def test_a_training_that_resumes_needs_no_file(federation):
    federation.train(num_rounds=1)
    settings = Settings(**SETTINGS, checkpoint_path=str(federation.folder))
    check_initial_model_of(settings)
    with pytest.raises(SettingsError):
        check_initial_model_of(replace(settings, resume="never"))


def test_a_file_that_is_there_is_not_read_before_the_start(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"")
    check_initial_model_of(Settings(initial_model=str(path)))


@pytest.mark.parametrize("content", [b"hello", b"", b"GIF89a", b"\x80\x02e."])
def test_a_number_of_the_decoder_alone_is_no_reason(tmp_path, content):
    """It was: `it is no file of weights alone (101)`."""
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(UnreadableError) as raised:
        read_weights(path, MOST)
    assert not re.search(r"\(\W*\w*\W*\)", str(raised.value))


def test_a_relative_path_is_told_with_a_file_as_example():
    with pytest.raises(
        SettingsError, match=r"expected an absolute path to a file.*FL_INITIAL_MODEL='/\S+\.npz'"
    ):
        resolve({"FL_INITIAL_MODEL": "model.npz"}, None)
