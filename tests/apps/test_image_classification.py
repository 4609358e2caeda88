"""The image app: data, errors, and training as a pure function of seed, round and partition."""

import hashlib
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict
from image_classification import client, data
from image_classification.model import ImageShape, Net, initial_model
from PIL import Image

from oneflower.errors import AppError
from oneflower.sdk import decoded, decoded_store
from oneflower.sdk.client import RoundInfo
from oneflower.sdk.data_source import DataSource
from oneflower.sdk.torch_app import model_arrays

APP = Path(__file__).parents[2] / "apps" / "image-classification"
SMALL = {"image-size": 8, "num-classes": 3, "local-epochs": 1, "batch-size": 8}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """120 images of 8x8 in one .npz, shared by all nodes; the first pixel is the image's number."""
    x = np.random.default_rng(0).random((120, 8, 8), dtype=np.float32)
    x[:, 0, 0] = np.arange(120)
    np.savez(tmp_path / "images.npz", x=x, y=np.arange(120) % 3)
    monkeypatch.setenv("ONEFLOWER_DATA", str(tmp_path))
    return tmp_path


def info(partition_id=0, num_partitions=3, **other):
    values = {"round": 1, "seed": 1, "lr": None, "proximal_mu": 0.0} | other
    return RoundInfo(partition_id=partition_id, num_partitions=num_partitions, **values)


SHAPE = ImageShape.from_run_config(SMALL)


def source(**config):
    return DataSource.from_config(SMALL | config)


def numbers(images):
    return set(images.pixels[:, 0, 0, 0].long().tolist())


def train(partition_id=0, num_partitions=3, config=None, **sent):
    run_config = SMALL | (config or {})
    initial = initial_model(ImageShape.from_run_config(run_config), 1)
    values = {"server-round": 2, "seed": 1} | sent
    content = RecordDict({"arrays": model_arrays(initial), "config": ConfigRecord(values)})
    context = Context(
        run_id=1,
        node_id=7,
        node_config={"partition-id": partition_id, "num-partitions": num_partitions},
        state=RecordDict(),
        run_config=run_config,
    )
    return client.train(Message(content=content, dst_node_id=7, message_type="train"), context).content


def digest(content):
    arrays = content.array_records["arrays"]
    return hashlib.sha256(b"".join(arrays[name].data for name in sorted(arrays))).hexdigest()


def test_the_model_has_100_000_parameters_and_a_0d_integer_array():
    net = Net(ImageShape.from_run_config({}))
    assert sum(parameter.numel() for parameter in net.parameters()) >= 100_000
    counts = net.state_dict()["features.1.num_batches_tracked"]
    assert (counts.shape, counts.dtype) == ((), torch.int64)


def test_the_apps_own_keys_are_declared_with_the_defaults_in_the_code():
    declared = tomllib.loads((APP / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    assert ImageShape.from_run_config(declared) == ImageShape.from_run_config({})
    assert DataSource.from_config(declared) == DataSource.from_config({})
    assert client.DEFAULTS.from_run_config(declared) == client.DEFAULTS


@pytest.mark.parametrize("how", ["iid", "dirichlet"])
def test_clients_and_server_share_out_every_image_once(folder, how):
    where = source(partitioning=how)
    parts = [numbers(data.held_out_images(where, SHAPE, 1))]
    for partition_id in range(3):
        parts += [numbers(images) for images in data.client_images(where, SHAPE, info(partition_id))]
    assert set.union(*parts) == set(range(120))
    assert sum(map(len, parts)) == 120


def test_the_server_trains_on_images_that_nobody_else_has(folder):
    where = DataSource.from_config(SMALL, root_half=True)
    parts = [numbers(data.root_images(where, SHAPE, 1)), numbers(data.held_out_images(where, SHAPE, 1))]
    for partition_id in range(3):
        parts += [numbers(images) for images in data.client_images(where, SHAPE, info(partition_id))]
    assert set.union(*parts) == set(range(120))
    assert sum(map(len, parts)) == 120


def test_a_nodes_own_data_is_not_partitioned(folder, monkeypatch):
    """The data mounted at data-path belongs to this node, so it is used completely."""
    monkeypatch.delenv("ONEFLOWER_DATA")
    where = source(**{"data-path": str(folder)})
    training, validation = data.client_images(where, SHAPE, info(1, 3))
    assert numbers(training) | numbers(validation) == set(range(120))
    assert numbers(data.held_out_images(where, SHAPE, 1)) == set(range(120))


def test_a_node_config_names_the_folder_of_its_node(folder, monkeypatch):
    monkeypatch.delenv("ONEFLOWER_DATA")
    where = DataSource.from_config(SMALL, {"data-path": str(folder)})
    assert (where.folder, where.partitioning) == (folder, "none")


def test_mnist_is_the_default():
    where = DataSource.from_config({"data-path": "/nowhere"})
    images = data.load_images(where.folder, ImageShape.from_run_config({}))
    assert images.pixels.shape == (5000, 1, 28, 28)
    assert torch.bincount(images.labels).tolist() == [500] * 10
    assert (float(images.pixels.min()), float(images.pixels.max())) == (0.0, 1.0)


def test_training_again_gives_the_same_bytes_whatever_ran_before(folder):
    first = digest(train(0))
    train(1)
    torch.manual_seed(99)
    assert digest(train(0)) == first
    assert digest(train(0, **{"server-round": 3})) != first
    assert digest(train(0, seed=2)) != first


def test_training_in_a_fresh_process_gives_the_same_bytes(folder):
    code = (
        f"import sys; sys.path[:0] = [{str(APP)!r}, {str(Path(__file__).parent)!r}]\n"
        "from test_image_classification import digest, train\n"
        "print(digest(train(0)))"
    )
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert fresh.stdout.strip() == digest(train(0))


def test_the_reply_names_examples_and_loss(folder):
    metrics = train(0).metric_records["metrics"]
    assert set(metrics) == {"num-examples", "train_loss"}
    assert metrics["num-examples"] == 26  # a third of 120 without the held-out fifth, four fifths of that


def test_the_learning_rate_and_the_proximal_mu_of_the_server_count(folder):
    assert digest(train(lr=0.05)) == digest(train())
    assert digest(train(lr=0.01)) != digest(train())
    assert digest(train(**{"proximal-mu": 1.0})) != digest(train())
    assert digest(train(**{"proximal-mu": 0.0})) == digest(train())


def test_one_folder_per_class_is_read_and_scaled(tmp_path, monkeypatch):
    for label, name in enumerate(("cats", "dogs", "owls")):
        (tmp_path / name).mkdir()
        for number in range(4):
            Image.new("RGB", (16, 12), (80 * label,) * 3).save(tmp_path / name / f"{number}.png")
    images = data.load_images(tmp_path, replace(SHAPE, channels=3))
    assert images.pixels.shape == (12, 3, 8, 8)
    assert images.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    torch.testing.assert_close(images.pixels[-1].mean(), torch.tensor(160 / 255))


@pytest.mark.parametrize("layout", ["bytes", "channels last"])
def test_an_archive_of_bytes_is_scaled_and_channels_last_are_moved(tmp_path, layout):
    x = np.full((9, 8, 8, 3), 255, dtype=np.uint8)
    np.savez(
        tmp_path / "i.npz", x=x if layout == "channels last" else x[..., 0], y=np.zeros(9, dtype=np.int8)
    )
    channels = 3 if layout == "channels last" else 1
    images = data.load_images(tmp_path, replace(SHAPE, channels=channels))
    assert images.pixels.shape == (9, channels, 8, 8)
    assert float(images.pixels.max()) == 1.0


def archive(x=None, y=None):
    x = np.zeros((6, 8, 8), dtype=np.float32) if x is None else x
    y = np.arange(len(x)) % 3 if y is None else y
    return {"x": x, "y": y}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (archive(np.zeros((6, 9, 9))), r"\(channels, height, width\) = \(1, 8, 8\)"),
        (archive(np.zeros((0, 8, 8))), "at least one image"),
        (archive(y=np.arange(5)), "one label each"),
        (archive(y=np.arange(6)), "integers from 0 to 2"),
        (archive(y=np.zeros(6)), "integers from 0 to 2"),
        (archive(np.full((6, 8, 8), np.nan)), "not finite numbers"),
        (archive(np.full((6, 8, 8), "a")), "not finite numbers"),
        ({"x": np.zeros((6, 8, 8))}, "the arrays x"),
        (archive(np.full((6, 8, 8), None)), "cannot be read"),
    ],
)
def test_an_archive_that_does_not_fit_is_refused_with_the_reason(tmp_path, arrays, words):
    np.savez(tmp_path / "images.npz", **arrays)
    with pytest.raises(AppError, match=words) as error:
        data.load_images(tmp_path, SHAPE)
    assert str(tmp_path / "images.npz") in str(error.value)


def test_a_folder_with_two_archives_or_with_none_is_refused(tmp_path):
    with pytest.raises(AppError, match=r"0 \.npz files and 0 class folders"):
        data.load_images(tmp_path / "missing", SHAPE)
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", **archive())
    with pytest.raises(AppError, match=r"2 \.npz files"):
        data.load_images(tmp_path, SHAPE)


def test_another_number_of_class_folders_and_a_broken_image_are_refused(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    with pytest.raises(AppError, match="2 class folders; expected num-classes = 3"):
        data.load_images(tmp_path, SHAPE)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "x.png").write_bytes(b"no image")
    with pytest.raises(AppError, match="not a readable image"):
        data.load_images(tmp_path, SHAPE)


def test_a_share_too_small_to_train_is_refused(folder):
    with pytest.raises(AppError, match="at least 3"):
        data.client_images(source(), SHAPE, info(0, 96))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("partitioning", "even", "auto or iid or dirichlet or group or none"),
        ("dirichlet-alpha", 0.0, "at least 0.001"),
        ("num-classes", "ten", "a int such as 10"),
        ("batch-size", 1, "at least 2"),
        ("learning-rate", float("nan"), "at least"),
    ],
)
def test_an_invalid_value_of_a_key_is_refused(folder, key, value, words):
    with pytest.raises(AppError, match=words) as error:
        train(config={key: value})
    assert key in str(error.value)


@pytest.fixture
def class_folders(tmp_path, monkeypatch):
    """Three classes of two images, each node's own; the folder of what is decoded."""
    for label in ("a", "b", "c"):
        (tmp_path / "own" / label).mkdir(parents=True)
        for number in range(2):
            pixels = np.full((8, 8), 40 * number + ord(label), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "own" / label / f"{number}.png")
    monkeypatch.setattr(decoded, "SETTLED_NS", -(10**12))
    monkeypatch.setattr(decoded_store, "LEFT_BYTES", 0)
    monkeypatch.setenv("ONEFLOWER_DATA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "own"


def read_anew(folder):
    """Load as the process of another message does."""
    data.load_images.cache_clear()
    return data.load_images(folder, SHAPE)


def test_images_of_class_folders_are_decoded_once_and_are_the_same(class_folders, monkeypatch):
    monkeypatch.setenv("ONEFLOWER_DATA_CACHE", "")
    plain = read_anew(class_folders)
    monkeypatch.setenv("ONEFLOWER_DATA_CACHE", str(class_folders.parent / "cache"))
    read_anew(class_folders)
    monkeypatch.setattr(Image, "open", None)
    kept = read_anew(class_folders)
    assert torch.equal(kept.pixels, plain.pixels)
    assert torch.equal(kept.labels, plain.labels)


def test_an_app_that_writes_into_its_images_reads_the_same_ones_again(class_folders):
    read_anew(class_folders)
    first = read_anew(class_folders).pixels.clone()
    read_anew(class_folders).pixels.mul_(0)
    assert torch.equal(read_anew(class_folders).pixels, first)


def test_an_image_that_is_added_is_read(class_folders):
    assert len(read_anew(class_folders)) == 6
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(class_folders / "b" / "2.png")
    assert read_anew(class_folders).labels.tolist() == [0, 0, 1, 1, 1, 2, 2]
    (class_folders / "d").mkdir()
    with pytest.raises(AppError, match="4 class folders"):
        read_anew(class_folders)
