"""Trainings in which a round draws its clients: the same ones after a resume, whoever has which node id."""

import random
from collections import Counter

import numpy as np
import pytest
from flwr.app import MetricRecord
from flwr.common import Array

from oneflower.errors import AppError, SettingsError, TrainingError
from oneflower.lab.localgrid import LocalGrid

from ..federation import Federation, central_loss, local_loss, local_update, numpy_app
from ..making import events_in

DRAWN = {
    "clients-per-round": 3,
    "min-fit-clients": 3,
    "min-evaluate-clients": 1,
    "evaluate-clients-per-round": 2,
}


def a_federation(folder, clients=12, **settings):
    named = {key.replace("_", "-"): value for key, value in settings.items()}
    return Federation(folder, clients=clients, settings={"num-server-rounds": 6, **DRAWN, **named})


@pytest.fixture
def sampled(tmp_path):
    return a_federation(tmp_path / "checkpoints")


def events(federation, tag):
    return [each for each in events_in(federation.folder / "journal.jsonl") if each.tag == tag]


def slots_of(federation, phase="train"):
    """Return by round which slots were drawn, in the order of the draw."""
    return {each.round: each.slots for each in events(federation, "clients_sampled") if each.phase == phase}


def partitions_asked(federation, phase="train"):
    """Return by round the partitions of the clients that have replied."""
    names = {each.client: each.partition for each in events(federation, "client_named")}
    found = {}
    for each in events(federation, "reply_received"):
        if each.phase == phase:
            found.setdefault(each.round, set()).add(names[each.client])
    return found


def weights(result):
    return {name: array.data for name, array in result.arrays.items()}


def test_a_round_asks_the_clients_that_it_draws_and_no_others(sampled):
    sampled.train()
    drawn = slots_of(sampled)
    assert sorted(drawn) == [1, 2, 3, 4, 5, 6]
    assert {len(slots) for slots in drawn.values()} == {3}
    assert len(set(drawn.values())) > 1
    assert partitions_asked(sampled) == {number: set(slots) for number, slots in drawn.items()}
    assert {(each.clients, each.asked) for each in events(sampled, "round_started")} == {(12, 3)}
    evaluated = slots_of(sampled, "evaluate")
    assert {len(slots) for slots in evaluated.values()} == {2}
    assert partitions_asked(sampled, "evaluate") == {
        number: set(slots) for number, slots in evaluated.items()
    }
    assert evaluated[1] != drawn[1][:2]


def test_a_draw_and_its_model_depend_on_no_node_id(sampled, tmp_path):
    expected = weights(sampled.train())
    ids = random.Random(5).sample(range(1, 10**9), 12)
    other = a_federation(tmp_path / "other")
    grid = LocalGrid(other.app, clients=12, run_config=other.run_config(), node_ids=ids)
    assert weights(other.train(grid=grid)) == expected
    assert slots_of(other) == slots_of(sampled)


class Killed(Exception):  # noqa: N818 - the process ends
    """Ends a training in the middle."""


@pytest.mark.parametrize("killed_in", [2, 4, 6])
def test_a_training_of_a_hundred_clients_that_is_killed_draws_the_same_ones_again(tmp_path, killed_in):
    whole = a_federation(tmp_path / "whole", clients=100, clients_per_round=10, min_fit_clients=10)
    expected = weights(whole.train())

    def dies(number, arrays):
        if number == killed_in:
            raise Killed
        return central_loss(number, arrays)

    killed = a_federation(tmp_path / "killed", clients=100, clients_per_round=10, min_fit_clients=10)
    with pytest.raises(Killed):
        killed.train(evaluate=dies)
    ids = random.Random(6).sample(range(1, 10**9), 100)
    grid = LocalGrid(killed.app, clients=100, run_config=killed.run_config(), node_ids=ids)
    assert weights(killed.train(grid=grid)) == expected
    assert slots_of(killed) == slots_of(whole)
    assert len(slots_of(killed)) == 6


def test_without_the_setting_no_client_is_asked_who_it_is(tmp_path):
    """A training of all clients keeps its messages, and so its bytes."""
    sent = []

    class Listening(LocalGrid):
        def push_messages(self, messages):
            listed = list(messages)
            sent.extend(each.metadata.message_type for each in listed)
            return super().push_messages(listed)

    plain = Federation(tmp_path / "plain", clients=4)
    plain.train(grid=Listening(plain.app, clients=4, run_config=plain.run_config()))
    assert Counter(sent) == {"train": 16, "evaluate": 16}
    assert not events(plain, "clients_sampled")


# --- clients that fail, or are away ---------------------------------------------------------------


def app_that_fails(*partitions, times=10**9):
    """Return an app that raises at the first `times` trainings of these partitions."""
    left = dict.fromkeys(partitions, times)

    def update(message, context):
        partition = context.node_config["partition-id"]
        if left.get(partition, 0):
            left[partition] -= 1
            raise OSError("no data here")
        return local_update(message, context)

    return numpy_app(update)


def first_drawn(tmp_path, **settings):
    plain = a_federation(tmp_path / "plain", num_server_rounds=1, **settings)
    plain.train()
    return slots_of(plain)[1]


def test_a_failure_that_passes_changes_nobody_and_no_byte(sampled, tmp_path):
    expected = weights(sampled.train())
    lost = slots_of(sampled)[1][0]
    other = a_federation(tmp_path / "other")
    other.app = app_that_fails(lost, times=2)
    assert weights(other.train()) == expected
    assert [each.attempt for each in events(other, "round_failed")] == [1, 2]
    drawn = [each.slots for each in events(other, "clients_sampled") if each.phase == "train"]
    assert drawn[0] == drawn[1] == drawn[2]


def test_after_three_attempts_another_client_takes_the_place_of_one_that_fails(tmp_path):
    """Who that is follows from the draw: the next one in its order."""
    order = first_drawn(tmp_path, clients_per_round=12, min_fit_clients=12)
    failing = a_federation(tmp_path / "failing", num_server_rounds=1)
    failing.app = app_that_fails(order[1])
    failing.train()
    drawn = [each.slots for each in events(failing, "clients_sampled") if each.phase == "train"]
    assert drawn == [order[:3]] * 3 + [(order[0], order[2], order[3])]


def test_the_next_round_asks_a_client_that_failed_again(tmp_path):
    """So a training that resumes, and knows nothing of the failures, draws the same clients."""
    failing = a_federation(tmp_path / "failing", clients=4, num_server_rounds=3)
    failing.app = app_that_fails(0)
    failing.train()
    first = {}
    for each in events(failing, "clients_sampled"):
        if each.phase == "train":
            first.setdefault(each.round, each.slots)
    plain = a_federation(tmp_path / "plain", clients=4, num_server_rounds=3)
    plain.train()
    assert first == slots_of(plain)


class Fewer(LocalGrid):
    """Some of the clients are away."""

    away = frozenset()

    def get_node_ids(self):
        return [each for each in super().get_node_ids() if each - 1000 not in self.away]


def test_the_place_of_a_client_that_is_away_goes_to_the_next(tmp_path):
    order = first_drawn(tmp_path, clients_per_round=12, min_fit_clients=12)
    fewer = a_federation(tmp_path / "fewer", num_server_rounds=1, min_available_clients=8)
    grid = Fewer(fewer.app, clients=12, run_config=fewer.run_config())
    grid.away = {order[0], order[7]}
    fewer.train(grid=grid)
    assert slots_of(fewer)[1] == order[1:4]


def test_fewer_clients_than_are_drawn_all_take_part(tmp_path):
    few = a_federation(
        tmp_path / "few", clients=4, clients_per_round=9, min_fit_clients=4, num_server_rounds=1
    )
    few.train()
    assert sorted(slots_of(few)[1]) == [0, 1, 2, 3]


def broken(message, context):
    raise ValueError("the app's defect")


def test_an_app_that_fails_on_every_client_ends_the_training_after_others_were_asked(sampled):
    """Three clients that fail alike are no proof while others are connected: those are asked as well."""
    sampled.app = numpy_app(broken)
    with pytest.raises(AppError, match="two tries of round 1, with other clients, every client raised"):
        sampled.train()
    drawn = [set(each.slots) for each in events(sampled, "clients_sampled")]
    assert drawn[0] == drawn[1] == drawn[2]
    assert not drawn[3] & drawn[0]
    assert len(drawn) == 4


def test_three_clients_that_fail_alike_end_no_training_of_twelve(tmp_path):
    order = first_drawn(tmp_path)

    def update(message, context):
        return (broken if context.node_config["partition-id"] in order else local_update)(message, context)

    failing = a_federation(tmp_path / "failing", num_server_rounds=1)
    failing.app = numpy_app(update)
    failing.train()
    assert len(events(failing, "round_failed")) == 3


def test_clients_that_send_nan_alike_send_no_training_back(tmp_path):
    """One sample of clients cannot have a checkpoint rejected; others must fail on its model, too."""
    plain = a_federation(tmp_path / "plain", num_server_rounds=3)
    plain.train()
    bad = slots_of(plain)[3]

    def update(message, context):
        arrays, metrics = local_update(message, context)
        if message.content["config"]["server-round"] == 3 and context.node_config["partition-id"] in bad:
            arrays["weight"] = type(arrays["weight"])(np.full((6, 4), np.nan, np.float32))
        return arrays, metrics

    other = a_federation(tmp_path / "other", num_server_rounds=3)
    other.app = numpy_app(update)
    other.train()
    assert not events(other, "training_went_back")
    assert len(events(other, "round_completed")) == 3


# --- spares ---------------------------------------------------------------------------------------


def test_spares_that_are_not_needed_change_no_byte(sampled, tmp_path):
    """With every client in time the first of the draw count, whoever came first."""
    expected = weights(sampled.train())
    spared = a_federation(tmp_path / "spared", oversampling=0.5)
    assert weights(spared.train()) == expected
    drawn = slots_of(spared)
    assert {len(slots) for slots in drawn.values()} == {5}
    assert {number: slots[:3] for number, slots in drawn.items()} == slots_of(sampled)
    assert {each.valid for each in events(spared, "round_completed")} == {3}
    assert {each.wanted for each in events(spared, "clients_sampled") if each.phase == "train"} == {3}


def test_a_spare_takes_the_place_of_a_client_that_fails_in_the_same_attempt(tmp_path):
    order = first_drawn(tmp_path, clients_per_round=12, min_fit_clients=12)
    spared = a_federation(tmp_path / "spared", num_server_rounds=1, oversampling=0.5)
    spared.app = app_that_fails(order[1])
    result = spared.train()
    assert not events(spared, "round_failed")
    (measured,) = events(spared, "updates_measured")
    names = {each.client: each.partition for each in events(spared, "client_named")}
    assert {names[client] for client in measured.clients} == {order[0], order[2], order[3]}

    without = a_federation(tmp_path / "without", num_server_rounds=1)
    without.app = app_that_fails(order[1])
    assert weights(without.train()) == weights(result)


@pytest.mark.parametrize("strategy", ["FedAvg", "FedAdam"])
def test_a_streaming_mean_takes_spares_out_of_its_sums_again(strategy, tmp_path):
    settings = {"strategy": strategy, "streaming_mean": "YES"}
    plain = a_federation(tmp_path / "plain", **settings)
    spared = a_federation(tmp_path / "spared", oversampling=1.0, **settings)
    assert weights(plain.train()) == weights(spared.train())


def test_a_robust_rule_counts_the_drawn_clients(tmp_path):
    krum = a_federation(
        tmp_path / "krum", strategy="Krum", num_malicious=1, clients_per_round=5, min_fit_clients=5
    )
    krum.train()
    with pytest.raises(SettingsError, match=r"FL_STRATEGY=Krum, FL_NUM_MALICIOUS=2 needs 7 clients"):
        krum.train(num_malicious=2)


def test_a_quorum_above_the_draw_is_refused_before_a_round_is_spent(sampled):
    with pytest.raises(SettingsError, match="FL_CLIENTS_PER_ROUND is 3 and FL_MIN_FIT_CLIENTS is 4"):
        sampled.train(min_fit_clients=4)
    with pytest.raises(SettingsError, match="FL_EVALUATE_CLIENTS_PER_ROUND is 2 and FL_MIN_EVALUATE"):
        sampled.train(min_evaluate_clients=3)
    assert not events(sampled, "round_started")


def test_a_round_whose_clients_all_stay_broken_fails_as_today(tmp_path):
    failing = a_federation(tmp_path / "failing", clients=3, num_server_rounds=1, round_retries=2)
    failing.app = app_that_fails(0, 1, 2)
    with pytest.raises(TrainingError, match="missed its quorum 3 times"):
        failing.train()


# --- clients that say nothing of themselves -------------------------------------------------------


class Silent(LocalGrid):
    """Clients without oneflower's executor: their app takes the question for its own and fails."""

    def _reply(self, message):
        if message.has_content() and "oneflower-who" in message.content:
            message.content = type(message.content)()
        return super()._reply(message)


def test_clients_that_do_not_say_who_they_are_are_drawn_all_the_same(sampled):
    grid = Silent(sampled.app, clients=12, run_config=sampled.run_config())
    sampled.train(grid=grid)
    assert {len(each.clients) for each in events(sampled, "clients_sampled") if each.phase == "train"} == {3}


def test_a_metric_of_few_clients_is_that_of_those_that_evaluate(tmp_path):
    seen = []

    def evaluation(number, arrays):
        seen.append(number)
        return local_loss(number, arrays)

    few = a_federation(tmp_path / "few", num_server_rounds=2)
    few.app = numpy_app(evaluation=evaluation)
    few.train()
    assert Counter(seen) == {1: 2, 2: 2}


# --- state that clients keep ----------------------------------------------------------------------


def test_a_client_finds_its_own_state_when_it_is_drawn_again(tmp_path, monkeypatch):
    """Each counts the rounds that it has trained; a resume gives the counts of its round back."""

    def update(message, context):
        before = context.state["own"]["trained"] if "own" in context.state else 0
        context.state["own"] = MetricRecord({"trained": before + 1})
        arrays, metrics = local_update(message, context)
        arrays["bias"] = Array(np.full(4, before + 1, np.float32))
        return arrays, metrics

    def dies(number, arrays):
        if number == 5:
            raise Killed
        return central_loss(number, arrays)

    monkeypatch.setenv("ONEFLOWER_CLIENT_STATE", str(tmp_path / "one"))
    whole = a_federation(tmp_path / "whole", num_server_rounds=8)
    whole.app = numpy_app(update)
    expected = weights(whole.train())
    monkeypatch.setenv("ONEFLOWER_CLIENT_STATE", str(tmp_path / "two"))
    killed = a_federation(tmp_path / "killed", num_server_rounds=8, checkpoint_interval=3)
    killed.app = numpy_app(update)
    with pytest.raises(Killed):
        killed.train(evaluate=dies)
    assert weights(killed.train()) == expected
    assert [each.round for each in events(killed, "training_resumed")] == [3]
    assert not events(killed, "client_state_lost")
