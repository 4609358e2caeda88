"""What an app asks of all clients before round 1: a quorum, a fixed order, and never on a resume."""

import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.common import Array

from oneflower.errors import TrainingError
from oneflower.flower.grid import RoundGrid
from oneflower.lab.localgrid import LocalGrid
from oneflower.settings import training_config
from oneflower.training.asking import ask_clients
from oneflower.training.phases import Phases
from oneflower.training.train import train

from ..flower.test_grid import World


class Federation:
    """Three clients that answer a query with their partition and never move the model."""

    def __init__(self, folder):
        self.folder = folder
        self.asked = []
        self.silent = set()
        self.order = []

    def client(self, message, context):
        part = context.node_config["partition-id"]
        arrays = message.content.array_records.get("arrays", ArrayRecord())
        if message.metadata.message_type == "query":
            self.asked.append((part, dict(message.content["config"])))
            if part in self.silent:
                raise ValueError("no")
            arrays = ArrayRecord({"part": Array(np.full(2, part))})
        metrics = MetricRecord({"num-examples": 1, "loss": 0.5})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    def prepare(self, arrays, ask):
        answers = ask(lambda message: None if message.content["metrics"]["num-examples"] == 1 else "no")
        self.order = [int(answer.content["arrays"]["part"].numpy()[0]) for answer in answers]
        return ArrayRecord({"w": Array(np.full(2, float(sum(self.order))))})

    def train(self, node_ids=(5, 6, 7), **settings):
        config = {"num-server-rounds": 1, "round-retries": 0, "seed": 4, "min-available-clients": 3}
        config |= {"checkpoint-enabled": True, "checkpoint-path": str(self.folder)}
        config |= {key.replace("_", "-"): value for key, value in settings.items()}
        grid = LocalGrid(self.client, clients=3, run_config=config, node_ids=node_ids)
        context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=config)
        arrays = ArrayRecord({"w": Array(np.zeros(2))})
        return train(grid, context, arrays, prepare=self.prepare)


@pytest.fixture
def federation(tmp_path):
    return Federation(tmp_path / "checkpoints")


def test_every_client_is_asked_once_and_the_answers_make_the_first_model(federation):
    result = federation.train()
    assert sorted(part for part, _ in federation.asked) == [0, 1, 2]
    assert federation.asked[0][1] == {"server-round": 0, "seed": 4}
    assert result.arrays["w"].numpy().tolist() == [3.0, 3.0]


def test_the_order_of_the_answers_hangs_on_their_content(federation):
    federation.train()
    first = federation.order
    federation.train(node_ids=(99, 1, 50), resume="never")
    assert federation.order == first


def test_a_resume_asks_nobody(federation):
    federation.train()
    federation.asked.clear()
    result = federation.train(num_server_rounds=2)
    assert federation.asked == []
    assert result.arrays["w"].numpy().tolist() == [3.0, 3.0]


def test_a_client_that_fails_is_left_out_above_the_quorum(federation):
    federation.silent = {2}
    assert federation.train(min_fit_clients=2).arrays["w"].numpy().tolist() == [1.0, 1.0]


def test_below_the_quorum_the_training_fails_in_words(federation):
    federation.silent = {1, 2}
    with pytest.raises(TrainingError, match="1 valid answers, 2 needed"):
        federation.train()


# --- how long it waits ---------------------------------------------------------------------------------


def asked_in(world, check=lambda _: None, journal=None, **settings):
    """Ask the clients of a world in simulated time; return the answering nodes."""
    config = training_config({key.replace("_", "-"): value for key, value in settings.items()})
    grid = RoundGrid(world, clock=world.clock, sleep=world.sleep)
    phases = Phases(grid=grid, journal=journal, round_timeout_s=config.round_timeout)
    answers = ask_clients(phases, config, check)
    return sorted(answer.content["metrics"]["node"] for answer in answers)


def test_the_wait_for_answers_ends_like_that_of_a_phase():
    """A member that answers late and wrongly and one that is silent: 60 s, not five times the late answer."""
    late, silent = 3, 4
    world = World(
        nodes=[1, 2, late, silent], delays={1: [1.0], 2: [1.0], late: [50.0] * 2, silent: [None] * 2}
    )

    def check(message):
        return "rubbish" if message.content["metrics"]["node"] == late else None

    assert asked_in(world, check, min_available_clients=2, min_fit_clients=2) == [1, 2]
    assert world.now < 70


def test_below_the_quorum_each_attempt_ends_at_the_timeout_of_a_phase():
    world = World(nodes=[1, 2], delays={1: [1.0] * 9, 2: [None] * 9})
    with pytest.raises(TrainingError, match="1 valid answers, 2 needed"):
        asked_in(world, journal=(said := []), min_available_clients=2, round_timeout=100, round_retries=1)
    assert [event.tries_left for event in said if event.tag == "round_failed"] == [1, 0]
    assert world.now < 2 * 100 + 2 * 100 + 10  # what clients are waited for, and their answers
