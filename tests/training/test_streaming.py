"""A training that sums updates as they come: one model whatever happens, and no trace of failures."""

import os

import numpy as np
import pytest
from flwr.common import Array

from oneflower.checkpoints import CheckpointReader
from oneflower.flower.spool import Spool
from oneflower.journal import read_journal
from oneflower.journal.events import UpdatesMeasured
from oneflower.lab.localgrid import LocalGrid
from oneflower.training import streaming
from oneflower.training.streaming import NOTE, decide

from ..federation import Federation, local_update, numpy_app

MEANS = ("FedAvg", "FedProx", "FedAdam", "FedYogi", "FedAdagrad", "FedAvgM")


class Shuffled(LocalGrid):
    """Hands replies on in another order in each round."""

    def pull_messages(self, message_ids):
        ids = list(message_ids)
        yield from super().pull_messages(np.random.default_rng(len(self._queue)).permutation(ids).tolist())


def bytes_of(result):
    return b"".join(result.arrays[name].data for name in result.arrays)


def federation(folder, **settings):
    clients = settings.pop("clients", 4)
    return Federation(folder, clients=clients, settings={"streaming-mean": "YES", **settings})


@pytest.mark.parametrize("name", MEANS)
def test_streaming_gives_one_model_for_every_order_of_replies(tmp_path, name):
    first = federation(tmp_path / "a", strategy=name)
    other = federation(tmp_path / "b", strategy=name)
    config = other.run_config()
    grid = Shuffled(other.app, clients=4, run_config=config, app="test/numpy", node_ids=[94, 7, 61, 20])
    assert bytes_of(first.train()) == bytes_of(other.train(grid=grid))


def test_streaming_is_the_mean_to_a_rounding_and_not_always_its_bytes(tmp_path):
    ours = federation(tmp_path / "a").train()
    plain = federation(tmp_path / "b", **{"streaming-mean": "NO"}).train()
    for name in ours.arrays:
        np.testing.assert_allclose(
            ours.arrays[name].numpy(), plain.arrays[name].numpy(), rtol=1e-5, atol=1e-6
        )


def test_auto_does_not_stream_a_small_model(tmp_path):
    """The demo and the examples keep their bytes: their models are far below 64 MB."""
    auto = Federation(tmp_path / "a").train()
    plain = federation(tmp_path / "b", clients=3, **{"streaming-mean": "NO"}).train()
    assert bytes_of(auto) == bytes_of(plain)
    assert CheckpointReader(tmp_path / "a").load(4).notes[NOTE] is False


def test_a_round_that_fails_after_updates_were_summed_leaves_no_trace(tmp_path):
    """In round 2 one client raises twice: its quorum is missed, with the others' updates summed already."""
    failures = iter(range(2))

    def sometimes(message, context):
        config = message.content["config"]
        if config["server-round"] == 2 and context.node_config["partition-id"] == 1:
            for _ in failures:
                raise RuntimeError("out of memory")
        return local_update(message, context)

    disturbed = federation(tmp_path / "a")
    disturbed.app = numpy_app(sometimes)
    assert bytes_of(disturbed.train()) == bytes_of(federation(tmp_path / "b").train())


def test_a_crash_in_the_middle_of_a_round_repeats_it_with_the_same_bytes(tmp_path):
    class KilledError(Exception):
        pass

    class Dies(LocalGrid):
        count = 0

        def pull_messages(self, message_ids):
            for message in super().pull_messages(message_ids):
                self.count += 1
                if self.count == 18:  # two replies of round 3 are summed
                    raise KilledError
                yield message

    killed = federation(tmp_path / "a")
    with pytest.raises(KilledError):
        killed.train(grid=Dies(killed.app, clients=4, run_config=killed.run_config(), app="test/numpy"))
    assert CheckpointReader(tmp_path / "a").rounds()[-1] < 4
    assert bytes_of(killed.train()) == bytes_of(federation(tmp_path / "b").train())
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        path.name for path in (tmp_path / "b").iterdir()
    }


def hostile(change):
    def update(message, context):
        arrays, metrics = local_update(message, context)
        if context.node_config["partition-id"] == 2:
            change(arrays, metrics)
        return arrays, metrics

    return numpy_app(update)


def large(arrays, _metrics):
    arrays["weight"] = Array(np.full((6, 4), 1e30, np.float32))


def heavy(_arrays, metrics):
    metrics["num-examples"] = 1e9


@pytest.mark.parametrize("change", [large, heavy])
def test_the_bounds_of_the_round_hold_for_updates_that_were_summed_before(tmp_path, change):
    """An update above a bound takes the place of the one that was summed: the model is that of the bound."""
    ours, plain = federation(tmp_path / "a"), federation(tmp_path / "b", **{"streaming-mean": "NO"})
    ours.app = plain.app = hostile(change)
    ours, plain = ours.train(), plain.train()
    assert np.abs(ours.arrays["weight"].numpy()).max() < 100
    np.testing.assert_allclose(
        ours.arrays["weight"].numpy(), plain.arrays["weight"].numpy(), rtol=1e-5, atol=1e-6
    )


def test_a_quarantined_update_is_never_summed(tmp_path):
    def spoil(arrays, _metrics):
        arrays["weight"] = Array(np.full((6, 4), np.nan, np.float32))

    ours = federation(tmp_path / "a", **{"min-fit-clients": 3})
    ours.app = hostile(spoil)
    assert np.isfinite(ours.train().arrays["weight"].numpy()).all()


def test_robust_rules_wait_and_the_log_says_so(tmp_path, caplog):
    with caplog.at_level("INFO", logger="flwr"):
        ours = federation(tmp_path / "a", strategy="FedMedian").train()
    plain = federation(tmp_path / "b", strategy="FedMedian", **{"streaming-mean": "NO"}).train()
    assert bytes_of(ours) == bytes_of(plain)
    assert "not summed as they come: FedMedian compares all updates of a round" in caplog.text


def test_the_journal_has_the_changes_and_no_distances(tmp_path):
    federation(tmp_path).train()
    entries = [each.event for each in read_journal(tmp_path / "journal.jsonl")]
    measured = [each for each in entries if isinstance(each, UpdatesMeasured)]
    assert measured
    for each in measured:
        assert each.distances == ()
        assert len(each.changes) == len(each.weights) == len(each.clients) == 4


@pytest.mark.parametrize(
    ("setting", "megabytes", "clients", "notes", "done", "streams"),
    [
        ("auto", 64, 2, {}, 0, True),
        ("auto", 63, 2, {}, 0, False),
        ("auto", 1, 255, {}, 0, False),
        ("auto", 1, 256, {}, 0, True),  # the updates of all clients together are large
        ("auto", 64, 2, {}, 3, False),  # a checkpoint of a release without streaming
        ("auto", 1, 256, {NOTE: False}, 3, False),
        ("auto", 1, 2, {NOTE: True}, 3, True),
        ("auto", 64, 2, {NOTE: False}, 3, False),
        ("YES", 1, 2, {NOTE: False}, 3, True),
        ("NO", 64, 2, {NOTE: True}, 3, False),
    ],
)
def test_a_resume_goes_on_as_the_training_began(setting, megabytes, clients, notes, done, streams):
    model = {"w": np.broadcast_to(np.float32(0), (megabytes << 18,)), "n": np.zeros(9 << 20, np.int8)}
    assert decide(setting, model, notes, done=done, clients=clients) is streams
    assert notes[NOTE] is streams


def test_a_resume_under_auto_keeps_the_choice_in_the_checkpoint(tmp_path):
    whole = federation(tmp_path / "a").train()
    half = federation(tmp_path / "b", **{"num-server-rounds": 2})
    half.train()
    assert bytes_of(federation(tmp_path / "b", **{"streaming-mean": "auto"}).train()) == bytes_of(whole)


def test_replies_are_in_a_file_without_a_name(tmp_path, monkeypatch):
    """Arrays of 4 kB and more are views of the file, and the reply's own bytes are let go."""
    monkeypatch.setattr(streaming, "SMALL_ARRAY_BYTES", 1)
    seen = []
    take = streaming.Streaming._take

    def spy(folding, spool, update, message):
        kept = take(folding, spool, update, message)
        seen.append((streaming._memory_of(kept.arrays["weight"]), list(message.content)))
        return kept

    monkeypatch.setattr(streaming.Streaming, "_take", staticmethod(spy))
    ours = federation(tmp_path / "a").train()
    assert all(isinstance(memory, memoryview) and not content for memory, content in seen)
    assert len(seen) == 16
    assert bytes_of(ours) == bytes_of(federation(tmp_path / "b").train())


def test_without_room_on_the_disk_replies_stay_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "SMALL_ARRAY_BYTES", 1)
    monkeypatch.setattr("oneflower.flower.spool.RESERVE_BYTES", 1 << 60)
    ours = federation(tmp_path / "a").train()
    monkeypatch.undo()
    assert bytes_of(ours) == bytes_of(federation(tmp_path / "b").train())


def test_a_write_that_fails_half_way_loses_nothing(tmp_path, monkeypatch):
    spool, write, left = Spool(folder=tmp_path), os.pwrite, iter([True, True])
    spool.begin(1 << 20)

    def full(descriptor, data, offset):
        if next(left, False):
            return write(descriptor, data, offset)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    assert spool.put(iter([b"one", b"two", b"three", b"four"])) == b"onetwothreefour"
    monkeypatch.undo()
    assert bytes(spool.put([b"one", b"two"])) == b"onetwo"
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_too_short_gives_the_bytes(tmp_path):
    spool = Spool(folder=tmp_path)
    spool.begin(4096)
    assert spool.put([b"a" * 4000, b"b" * 97]) == b"a" * 4000 + b"b" * 97
