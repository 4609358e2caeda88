"""A round whose model no client can train from: the training goes back one checkpoint, once."""

from collections import Counter

import numpy as np
import pytest
from flwr.common import Array

from oneflower.checkpoints import CheckpointReader, model_digest
from oneflower.errors import AppError, TrainingError
from oneflower.flower.records import array_views
from oneflower.journal import read_journal, reduce
from oneflower.training.checkpoint_keeping import CheckpointKeeper

from ..federation import Federation, local_update, numpy_app
from ..making import events_in

NO_BOUNDS = {"update-norm-bound": 0.0, "max-client-weight": 0.0}


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the training may catch it."""


def digest(result):
    return model_digest(array_views(result.arrays))


def events(federation, *names):
    return events_in(federation.folder / "journal.jsonl", *names)


def poisoned(server_round, *, times=1, then="NaN", poison=1e37):
    """Return an app one client of which poisons a round; clients answer NaN, or raise, on such a model."""
    calls = Counter()

    def update(message, context):
        number, partition = message.content["config"]["server-round"], context.node_config["partition-id"]
        arrays, metrics = local_update(message, context)
        if np.abs(message.content["arrays"]["weight"].numpy()).max() > poison / 100:
            if then == "raise":
                raise ValueError(f"the loss of {partition} is not finite")
            if then == "away":
                raise ConnectionError("the data server is down")
            if partition == 0 and then == "one answers":
                return arrays, metrics
            arrays["weight"] = Array(np.full((6, 4), np.nan, np.float32))
        calls[number, partition] += 1
        if number == server_round and partition == 1 and calls[number, partition] <= times:
            arrays["weight"] = Array(np.full((6, 4), poison, np.float32))
        return arrays, metrics

    return numpy_app(update)


@pytest.fixture
def federation(tmp_path):
    return Federation(folder=tmp_path / "attacked", settings=NO_BOUNDS | {"num-server-rounds": 5})


@pytest.fixture
def undisturbed(tmp_path):
    return Federation(folder=tmp_path / "honest", settings=NO_BOUNDS | {"num-server-rounds": 5}).train()


@pytest.mark.parametrize("then", ["NaN", "raise", "one answers"])
@pytest.mark.parametrize("server_round", [1, 2, 4])
def test_the_round_is_done_again_from_the_checkpoint_before(federation, undisturbed, server_round, then):
    """Row 4 of security.md: round 7 stayed the newest good checkpoint, and every resume started from it."""
    federation.app = poisoned(server_round, then=then)
    result = federation.train()
    assert digest(result) == digest(undisturbed)
    (event,) = events(federation, "training_went_back")
    assert (event.round, event.to) == (server_round, server_round - 1)
    assert ", 3 needed" in event.reason
    done = [each.round for each in events(federation, "round_completed")]
    assert done == [*range(1, server_round + 1), *range(server_round, 6)]


def test_the_checkpoint_is_kept_as_rejected_and_nothing_is_deleted(federation):
    federation.app = poisoned(3)
    federation.train()
    reader = CheckpointReader(federation.folder)
    assert reader.rejected() == (3,)
    aside = {"checkpoint_round_3.json.rejected-1", "checkpoint_round_3.npz.rejected-1"}
    assert aside <= set(reader.set_aside())
    assert (federation.folder / "checkpoint_round_3.npz").exists()
    assert reader.load(5).notes["gone_back_from"] == 3


def test_the_state_of_the_training_says_so(federation):
    federation.app = poisoned(3)
    federation.train()
    state = reduce(read_journal(federation.folder / "journal.jsonl"))
    assert (state.went_back.round, state.went_back.to) == (3, 2)
    assert state.done == 5
    assert [result.number for result in state.undone] == [3]
    assert sorted(state.checkpoints) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_in_between_ends_with_the_same_bytes(federation, undisturbed, when, monkeypatch):
    go_back = CheckpointKeeper.go_back

    def dies(self, server_round, result):
        if when == "after":
            go_back(self, server_round, result)
        raise Killed

    federation.app = poisoned(3)
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointKeeper, "go_back", dies)
        with pytest.raises(Killed):
            federation.train()
    assert CheckpointReader(federation.folder).rounds()[-1] == (3 if when == "before" else 2)
    assert digest(federation.train()) == digest(undisturbed)
    assert CheckpointReader(federation.folder).rejected() == (3,)


def test_it_goes_back_once_and_then_fails_with_the_reason(federation):
    federation.app = poisoned(3, times=9)
    with pytest.raises(TrainingError, match="round 4 missed its quorum 4 times"):
        federation.train(round_retries=3)
    assert len(events(federation, "training_went_back")) == 1
    with pytest.raises(TrainingError, match="round 4 missed its quorum 1 time;"):
        federation.train(round_retries=0)
    assert len(events(federation, "training_went_back")) == 1
    reader = CheckpointReader(federation.folder)
    assert (reader.rejected(), reader.rounds()[-1]) == ((3,), 3)


def test_with_one_attempt_only_it_goes_back_after_that(federation, undisturbed):
    federation.app = poisoned(3)
    assert digest(federation.train(round_retries=0)) == digest(undisturbed)


def test_clients_that_are_away_do_not_speak_against_the_model(federation):
    federation.app = poisoned(3, then="away")
    with pytest.raises(TrainingError, match="round 4 missed its quorum 3 times"):
        federation.train(round_retries=2)
    assert not events(federation, "training_went_back")
    assert CheckpointReader(federation.folder).rejected() == ()


def test_one_client_that_sends_nan_does_not_take_the_training_back(federation):
    def update(message, context):
        arrays, metrics = local_update(message, context)
        if message.content["config"]["server-round"] == 3 and context.node_config["partition-id"] == 0:
            arrays["weight"] = Array(np.full((6, 4), np.nan, np.float32))
        return arrays, metrics

    federation.app = numpy_app(update)
    with pytest.raises(TrainingError, match="round 3 missed its quorum"):
        federation.train(round_retries=2)
    assert not events(federation, "training_went_back")


def test_an_app_that_fails_from_the_first_round_on_is_reported_as_before(federation):
    def update(message, context):
        raise ValueError("wrong shape")

    federation.app = numpy_app(update)
    with pytest.raises(AppError, match="wrong shape"):
        federation.train()
    assert not events(federation, "training_went_back")


def test_without_checkpoints_there_is_no_way_back(federation):
    federation.app = poisoned(3)
    with pytest.raises(TrainingError, match="round 4 missed its quorum"):
        federation.train(checkpoint_enabled=False, round_retries=2)


def test_between_two_checkpoints_it_goes_back_to_the_newest(federation, undisturbed):
    federation.app = poisoned(4)
    result = federation.train(checkpoint_interval=3)
    assert digest(result) == digest(undisturbed)
    (event,) = events(federation, "training_went_back")
    assert (event.round, event.to) == (4, 3)
    assert CheckpointReader(federation.folder).rejected() == ()


def test_a_training_that_does_not_resume_goes_back_all_the_same(federation, undisturbed):
    """FL_RESUME=never sets the earlier training aside; what that one rejected does not count."""
    federation.app = poisoned(3)
    federation.train()
    federation.app = poisoned(3)
    assert digest(federation.train(resume="never")) == digest(undisturbed)
    assert len(events(federation, "training_went_back")) == 2
    assert CheckpointReader(federation.folder).rejected() == (3, 3)


def test_the_optimizers_state_goes_back_too(tmp_path):
    settings = NO_BOUNDS | {"strategy": "FedAvgM", "num-server-rounds": 4}
    honest = Federation(folder=tmp_path / "honest", settings=settings).train()
    federation = Federation(folder=tmp_path / "attacked", settings=settings, app=poisoned(2, poison=1e17))
    assert digest(federation.train()) == digest(honest)
    assert events(federation, "training_went_back")
