"""One array above 4 GiB, as a reply in chunks and as a checkpoint: no length of 32 bits on the way.

The array is a sparse file, and so is what is made of it as far as the file system finds zeros: the test takes
10 GB of disk and little memory.
"""

import mmap
import shutil

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.common.inflatable import get_all_nested_objects, get_object_tree, no_object_id_recompute

from oneflower.checkpoints import Checkpoint, CheckpointStore
from oneflower.flower.api import SType
from oneflower.flower.records import _header, array_view
from oneflower.flower.refusals import Limits
from oneflower.flower.spool import Spool
from oneflower.flower.v1_25.fleet_limits import MAX_REQUEST_BYTES, ids_of
from oneflower.flower.v1_25.inflating import inflate, object_ids

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

VALUES = (1 << 30) + 3_000_000  # 4.3 GB of float32
CHUNK = 5 << 20
NEEDED_BYTES = 12 << 30


class Deflated(dict):
    """Objects that are deflated when they are read, so that they are not all in memory."""

    def __init__(self, objects):
        super().__init__(dict.fromkeys(objects, b""))
        self.objects = objects

    def get(self, key, default=None):
        return self.objects[key].deflate() if key in self else default

    def __getitem__(self, key):
        return self.get(key)

    def values(self):
        return iter(())


@pytest.fixture
def huge(tmp_path):
    """Return the serialised array, in a sparse file; each of its chunks is another."""
    if shutil.disk_usage(tmp_path).free < NEEDED_BYTES:
        pytest.skip("less than 12 GB of disk are free")
    header = _header(np.dtype(np.float32), (VALUES,))
    path = tmp_path / "huge"
    with path.open("w+b") as file:
        file.truncate(len(header) + 4 * VALUES)
        data = mmap.mmap(file.fileno(), 0)
    data[: len(header)] = header
    values = np.frombuffer(data, np.float32, offset=len(header))
    values[:: CHUNK // 4] = np.arange(1, -(-VALUES // (CHUNK // 4)) + 1)
    values[-1] = 7
    yield data, values
    path.unlink()


def test_a_reply_and_a_checkpoint_of_more_than_4_gib(huge, tmp_path):
    data, values = huge
    array = Array(dtype="float32", shape=(VALUES,), stype=SType.NUMPY, data=b"")
    array.data = memoryview(data)
    content = RecordDict({"arrays": ArrayRecord(), "metrics": MetricRecord({"num-examples": 1})})
    content["arrays"]["w"] = array
    reply = Message(content, reply_to=Message(RecordDict(), 5, "train"))
    with no_object_id_recompute():
        objects, tree = get_all_nested_objects(reply), get_object_tree(reply)
    assert len(tree.SerializeToString()) < MAX_REQUEST_BYTES
    assert all(len(each.deflate()) < MAX_REQUEST_BYTES for each in objects.values())
    limits = Limits(num_bytes=9 << 30, objects=4096)
    assert len(ids_of(tree, 4096)) == len(object_ids(tree, limits)) == len(objects)
    spool = Spool(folder=tmp_path)
    spool.begin(16 << 30)
    read = inflate(reply.object_id, Deflated(objects), limits, spool.put)
    view = array_view(read["arrays"]["w"])
    assert view.shape == (VALUES,)
    assert (view[:: CHUNK // 4] == values[:: CHUNK // 4]).all()
    assert view[-1] == 7

    saved = Checkpoint(
        round=1,
        total_rounds=1,
        arrays={"w": view},
        state={},
        strategy="FedAvg",
        parameters={},
        app="test",
        seed=1,
        metrics={},
        versions={},
        notes={},
    )
    with CheckpointStore(tmp_path / "checkpoints") as store:
        assert store.save(saved).size_bytes > 4 * VALUES
        store.verify(1)
        path = store.root / "checkpoint_round_1.npz"
    with np.load(path) as loaded:
        assert loaded.files == ["w"]
    path.unlink()
