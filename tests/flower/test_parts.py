"""Parts that the ServerApp hands out: what each client trains on, round by round, and what messages carry."""

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.common import Array

from oneflower.checkpoints import model_digest
from oneflower.errors import AppError
from oneflower.flower.parts import MEMBER, MEMBERS, PARTS_VARIABLE, PartTable, own_part
from oneflower.flower.records import array_views
from oneflower.lab.localgrid import LocalGrid
from oneflower.parts import table_text
from oneflower.sdk.client import RoundInfo
from oneflower.training.train import train

from ..federation import local_update, numpy_app
from ..making import events_in

# Members, and what each computed once, when it joined, as (partition-id, num-partitions).
AT_JOIN = {11: (1, 2), 12: (2, 3), 13: (2, 3)}


class Killed(BaseException):
    """Stands for SIGKILL."""


class Scaled:
    """A federation whose clients joined and left before; it notes which part each message was for."""

    def __init__(self, folder, file):
        self.folder, self.file = folder, file
        self.seen, self.configs = [], []
        self.on_train = lambda number: None

    def assign(self, *members):
        self.file.write_text(table_text(members))

    def parts(self, kind, number):
        return sorted(
            (member, part, count)
            for found, at, member, part, count in self.seen
            if (found, at) == (kind, number)
        )

    def client(self, message, context):
        member = list(AT_JOIN)[context.node_config["partition-id"]]
        part, count = AT_JOIN[member]
        context.node_config = {"partition-id": part, "num-partitions": count, MEMBER: member}
        try:
            return self.run(member, message, context)
        finally:
            context.node_config = {"partition-id": list(AT_JOIN).index(member), "num-partitions": 3}

    def run(self, member, message, context):
        info = RoundInfo.from_message(message, context)
        kind = message.metadata.message_type
        self.seen.append((kind, info.round, member, info.partition_id, info.num_partitions))
        self.configs.append(dict(message.content["config"]))
        if kind == "query":
            metrics = MetricRecord({"num-examples": 1})
            return Message(RecordDict({"metrics": metrics}), reply_to=message)
        if kind == "train":
            self.on_train(info.round)
        with own_part(message, context):
            return numpy_app(local_update)(message, context)

    def train(self, rounds=2, prepare=None):
        config = {"num-server-rounds": rounds, "seed": 3, "min-available-clients": 3, "min-fit-clients": 3}
        config |= {"min-evaluate-clients": 3, "round-retries": 0, "checkpoint-enabled": True}
        config |= {"checkpoint-interval": 1, "checkpoint-path": str(self.folder)}
        grid = LocalGrid(self.client, clients=3, run_config=config)
        context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=config)
        arrays = ArrayRecord({"weight": Array(np.ones((2, 2), np.float32))})
        return train(grid, context, arrays, prepare=prepare)

    def events(self):
        return [
            (event.round, event.members)
            for event in events_in(self.folder / "journal.jsonl")
            if event.tag == "parts_assigned"
        ]


@pytest.fixture
def scaled(tmp_path, monkeypatch):
    file = tmp_path / "parts.json"
    monkeypatch.setenv(PARTS_VARIABLE, str(file))
    return Scaled(tmp_path / "checkpoints", file)


def test_after_scaling_each_part_of_the_data_has_one_client(scaled):
    """10 left and 13 came: by what they computed when they joined, two had one part, and one had nobody."""
    scaled.assign(12, 11, 13)
    scaled.train(rounds=1)
    expected = [(11, 1, 3), (12, 0, 3), (13, 2, 3)]
    assert scaled.parts("train", 1) == scaled.parts("evaluate", 1) == expected
    assert scaled.events() == [(1, (12, 11, 13))]


def test_training_and_evaluation_of_a_round_have_one_table_and_the_next_round_has_the_new_one(scaled):
    scaled.assign(11, 12, 13)
    scaled.on_train = lambda number: scaled.assign(13, 12, 11) if number == 2 else None
    scaled.train(rounds=3)
    first, second = [(11, 0, 3), (12, 1, 3), (13, 2, 3)], [(11, 2, 3), (12, 1, 3), (13, 0, 3)]
    assert [scaled.parts("train", number) for number in (1, 2, 3)] == [first, first, second]
    assert [scaled.parts("evaluate", number) for number in (1, 2, 3)] == [first, first, second]
    assert scaled.events() == [(1, (11, 12, 13)), (3, (13, 12, 11))]


def test_who_is_not_in_the_table_keeps_its_own_part(scaled):
    scaled.assign(12, 11)
    scaled.train(rounds=1)
    assert scaled.parts("train", 1) == [(11, 1, 2), (12, 0, 2), (13, 2, 3)]


def test_without_a_table_messages_carry_what_they_always_did(scaled):
    scaled.train(rounds=1)
    assert {tuple(config) for config in scaled.configs} == {("seed", "server-round")}
    assert scaled.parts("train", 1) == [(member, *part) for member, part in AT_JOIN.items()]
    assert scaled.events() == []
    config = ConfigRecord({"seed": 3})
    assert PartTable().into(config) is config


def test_what_clients_are_asked_before_round_1_is_of_the_parts_that_they_train_on(scaled):
    scaled.assign(12, 11, 13)

    def prepare(arrays, ask):
        ask(lambda message: None)
        return arrays

    scaled.train(rounds=1, prepare=prepare)
    assert scaled.parts("query", 0) == scaled.parts("train", 1)
    assert scaled.events() == [(0, (12, 11, 13))]


def test_a_training_that_was_killed_ends_with_the_same_bytes(scaled, tmp_path):
    """The table is read again by the new process; a crash before the evaluation of a round included."""
    scaled.assign(12, 11, 13)
    digest = model_digest(array_views(scaled.train(rounds=3).arrays))
    killed = Scaled(tmp_path / "killed", scaled.file)

    def kill(number):
        if number == 3 and len(killed.parts("train", 3)) == 2:
            raise Killed

    killed.on_train = kill
    with pytest.raises(Killed):
        killed.train(rounds=3)
    killed.on_train = lambda number: None
    assert model_digest(array_views(killed.train(rounds=3).arrays)) == digest


def test_a_table_that_is_damaged_or_gone_stays_as_it_was(scaled, caplog):
    scaled.assign(12, 11, 13)
    table = PartTable(path=scaled.file)
    assert table.look()
    assert not table.look()
    scaled.file.write_text("{")
    assert not table.look()
    assert "parts not read" in caplog.text
    scaled.file.unlink()
    assert not table.look()
    assert table.members == (12, 11, 13)


def test_thousands_of_members_cost_a_message_some_kilobytes():
    table = PartTable(members=tuple(range(100_000, 105_000)))
    assert len(table.into(ConfigRecord({})).deflate()) < 32_000


def message(**config):
    return Message(content=RecordDict({"config": ConfigRecord(config)}), dst_node_id=1, message_type="train")


def context(**node):
    return Context(run_id=1, node_id=1, node_config=node, state=RecordDict(), run_config={})


def test_an_app_sees_its_part_in_its_node_config_and_the_node_keeps_its_own():
    node = context(**{"partition-id": 0, "num-partitions": 2, MEMBER: 12, "site": "north"})
    own = dict(node.node_config)
    with own_part(message(**{MEMBERS: [11, 13, 12]}), node):
        assert node.node_config == {**own, "partition-id": 2, "num-partitions": 3}
    assert node.node_config == own


def test_a_node_without_an_id_ignores_the_table_and_what_is_in_it():
    """As one whose part the operator gave: nothing that a server sends may stop it."""
    node = context(**{"partition-id": 7, "num-partitions": 9})
    info = RoundInfo.from_message(message(**{MEMBERS: "nonsense"}), node)
    assert (info.partition_id, info.num_partitions) == (7, 9)


@pytest.mark.parametrize("table", ["12", 12, ["12"], [12.0], [-1, 12], [12, 12], [True]])
def test_a_malformed_table_is_an_error_that_names_its_key(table):
    with (
        pytest.raises(AppError, match=MEMBERS),
        own_part(message(**{MEMBERS: table}), context(**{MEMBER: 12})),
    ):
        pass


def test_a_malformed_id_is_an_error_that_names_where_it_stands():
    with pytest.raises(AppError, match=r"member-id is 'x'.*FL_NODE_CONFIG"):
        RoundInfo.from_message(message(**{MEMBERS: [12]}), context(**{MEMBER: "x"}))
