"""A message counts with all that it lists: a new model of zeros is as large as what is trained from it."""

import numpy as np
import pytest
from flwr.common import Array, ArrayRecord, ConfigRecord, RecordDict
from flwr.common.inflatable import get_all_nested_objects

from oneflower.flower.v1_25.fleet_sizes import Size


def size_of(content):
    size = Size()
    for object_id, each in get_all_nested_objects(content).items():
        size.add(object_id, each.deflate())
    return size


def record(arrays):
    return RecordDict({"arrays": ArrayRecord({name: Array(values) for name, values in arrays.items()})})


def plain(content):
    """Return the bytes and the arrays and chunks of a message in which nothing is equal."""
    objects = get_all_nested_objects(content)
    parts = [each for each in objects.values() if type(each).__name__ in ("Array", "ArrayChunk")]
    return sum(len(each.deflate()) for each in objects.values()), len(parts)


@pytest.mark.parametrize("shapes", [[(5_000_000,)], [(300, 7)] * 40, [(3_000_000,), (3_000_000,), ()]])
def test_zeros_count_as_much_as_what_is_trained_from_them(shapes):
    rng = np.random.default_rng(1)
    zeros = {f"layer.{i}": np.zeros(shape, np.float32) for i, shape in enumerate(shapes)}
    trained = {name: rng.normal(size=array.shape).astype(np.float32) for name, array in zeros.items()}
    begin, after = size_of(record(zeros)), plain(record(trained))
    assert begin.objects == after[1]
    assert begin.num_bytes == pytest.approx(after[0], rel=0.01, abs=400 * len(shapes))
    assert size_of(record(trained)).num_bytes == pytest.approx(after[0], rel=0.01, abs=400 * len(shapes))


def test_what_cannot_be_read_counts_as_it_is():
    size = Size()
    for number, content in enumerate(
        (b"Array", b"Array  3\0[1]", b"Array  2\0{}", b"ArrayRecord  1\07", b"x" * 10)
    ):
        size.add(str(number), content)
    assert size.num_bytes == size.sent
    assert size_of(RecordDict({"config": ConfigRecord({"a": 1})})).objects == 0
