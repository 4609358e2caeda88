"""What a training needs is said before its first round, and a warning only where there is less."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from oneflower.capacity import Load
from oneflower.flower.database import DATABASE_VARIABLE
from oneflower.settings import training_config
from oneflower.training import resources
from oneflower.training.resources import (
    CLIENTS_VARIABLE,
    disk_bills,
    load_of,
    memory_bill,
    rounds_to_save,
)

from ..federation import Federation
from .test_training import events

GB = 1_000_000_000
ONE_GB = Load(model_bytes=GB, clients=10, largest_array_bytes=GB // 10)
MODEL = {"w": np.broadcast_to(np.zeros(1, np.float32), GB // 8), "b": np.zeros(1000, np.float32)}


@pytest.fixture
def machine(monkeypatch):
    """Return a function that sets how much memory, and how much disk, is free."""

    def set_free(memory=10**15, disk=10**15):
        monkeypatch.setattr(resources, "memory_free", lambda: memory)
        monkeypatch.setattr(resources, "own_memory", lambda: 0)
        monkeypatch.setattr(resources, "disk_free", lambda _folder: (7, disk))

    return set_free


@pytest.fixture
def config_of(tmp_path):
    def of(**given):
        named = {name.replace("_", "-"): value for name, value in given.items()}
        return training_config(Federation(tmp_path / "checkpoints", settings=named).run_config())

    return of


def test_enough_of_both_is_no_event(federation, machine, caplog):
    machine()
    with caplog.at_level(logging.INFO, logger="flwr"):
        federation.train()
    assert not events(federation, "resources_short")
    assert "this training needs about (model 0 MB, " in caplog.text
    assert "of memory (ServerApp 1" in caplog.text


def test_too_little_memory_is_journalled_before_round_1_and_the_training_goes_on(federation, machine):
    machine(memory=10**6)
    federation.train()
    tags = [event.tag for event in events(federation)]
    assert tags.index("training_started") < tags.index("resources_short") < tags.index("round_started")
    (short,) = events(federation, "resources_short")
    assert (short.round, short.rounds, short.memory_free_bytes) == (0, 4, 10**6)
    assert short.memory_bytes > short.memory_free_bytes
    assert "free: 1 MB" in short.reason
    assert "Give the machine more memory" in short.reason
    assert "disk" not in short.reason
    assert tags[-1] == "training_finished"


def test_too_little_disk_is_said_again_on_a_resume_and_not_of_a_complete_training(federation, machine):
    machine(disk=10)
    federation.train(num_server_rounds=2)
    federation.train()
    assert [event.round for event in events(federation, "resources_short")] == [0, 2]
    assert "lower FL_CHECKPOINT_KEEP" in events(federation, "resources_short")[0].reason
    federation.train()
    assert len(events(federation, "resources_short")) == 2


def test_a_load_is_that_of_the_model_and_of_the_strategy(config_of):
    load = load_of(config_of(strategy="FedAdam"), MODEL, clients=3, streams=True)
    assert load == Load(
        model_bytes=GB // 2 + 4000, clients=3, largest_array_bytes=GB // 2, streaming=True, moments=2
    )
    assert load_of(config_of(strategy="FedAvgM"), MODEL, clients=3, streams=True).moments == 1
    assert load_of(config_of(strategy="FedAvg"), MODEL, clients=3, streams=False).moments == 0
    assert load_of(config_of(strategy="app"), MODEL, clients=3, streams=False).moments == 0


def test_a_server_pays_for_its_superlink_and_up_for_its_supernodes_too(machine):
    machine()
    assert set(memory_bill(ONE_GB, at_work=10, nodes_here=0, cluster=False).items) == {"ServerApp"}
    assert set(memory_bill(ONE_GB, at_work=10, nodes_here=0, cluster=True).items) == {
        "ServerApp",
        "SuperLink",
    }
    up = memory_bill(ONE_GB, at_work=10, nodes_here=10, cluster=True)
    assert up.items["10 SuperNodes at work"] > 10 * GB


@pytest.mark.parametrize(
    ("connected", "given", "found"),
    [
        (10, {}, (10, 10)),
        (100, {"clients_per_round": 10}, (10, 100)),  # all evaluate
        (100, {"clients_per_round": 10, "oversampling": 0.25, "evaluate_clients_per_round": 20}, (13, 20)),
        (100, {"clients_per_round": 10, "evaluate_clients_per_round": 5}, (10, 10)),
        (100, {"clients_per_round": 10, "min_evaluate_clients": 0}, (10, 10)),
        (4, {"clients_per_round": 10, "evaluate_clients_per_round": 10}, (4, 4)),
    ],
)
def test_only_clients_that_are_drawn_hold_a_model(config_of, connected, given, found):
    assert resources.clients_of_a_round(config_of(**given), connected) == found


def test_an_unknown_amount_of_memory_is_never_too_little(machine):
    machine(memory=None)
    bill = memory_bill(ONE_GB, at_work=10, nodes_here=0, cluster=True)
    assert not bill.is_short
    assert "free: unknown" in str(bill)


def test_what_is_on_one_disk_is_added_up(machine, config_of, monkeypatch, tmp_path):
    machine()
    config = config_of(checkpoint_keep=2, checkpoint_interval=1)
    (checkpoints,) = disk_bills(replace(ONE_GB, streaming=False), config, done=0, cluster=True)
    assert checkpoints.items == {"checkpoints": 4 * GB}
    monkeypatch.setenv(DATABASE_VARIABLE, str(tmp_path / "state.db"))
    (together,) = disk_bills(ONE_GB, config, done=0, cluster=True)
    assert set(together.items) == {"checkpoints", "replies of a round", "SuperLink's database"}
    (simulated,) = disk_bills(ONE_GB, config, done=0, cluster=False)
    assert set(simulated.items) == {"checkpoints"}


def test_two_disks_are_two_bills(machine, config_of, monkeypatch, tmp_path):
    machine()
    monkeypatch.setattr(resources, "disk_free", lambda folder: (hash(folder), GB))
    monkeypatch.setenv(DATABASE_VARIABLE, str(tmp_path / "elsewhere" / "state.db"))
    bills = disk_bills(ONE_GB, config_of(), done=0, cluster=True)
    assert len(bills) == 2
    assert "elsewhere" in str(bills[1])


@pytest.mark.parametrize(
    ("done", "rounds", "interval", "due"),
    [(0, 5, 2, [2, 4, 5]), (4, 5, 2, [5]), (0, 3, 10, [3]), (3, 3, 1, [])],
)
def test_checkpoints_are_due_at_the_interval_and_at_the_end(done, rounds, interval, due):
    assert rounds_to_save(done, rounds, interval) == due


def test_a_rule_that_could_stream_is_named_as_the_way_out(machine, federation):
    machine(memory=10**6)
    federation.settings = {"streaming-mean": "NO", **federation.settings}
    federation.train()
    assert "Set FL_STREAMING_MEAN=YES" in events(federation, "resources_short")[0].reason


def test_up_says_how_many_clients_run_here(monkeypatch):
    monkeypatch.setenv(CLIENTS_VARIABLE, "12")
    assert resources.known_clients() == 12
    monkeypatch.setenv(CLIENTS_VARIABLE, "many")
    assert resources.known_clients() is None
