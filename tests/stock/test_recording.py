"""An app that sends its messages by itself ends with the same bytes, wherever its server was killed."""

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from oneflower.errors import CheckpointError
from oneflower.flower.client_mark import take_mark
from oneflower.flower.who import Identity
from oneflower.journal import Journal
from oneflower.lab.localgrid import LocalGrid
from oneflower.settings import training_config
from oneflower.stock.about import about_of, how_it_differs
from oneflower.stock.nodes import StableNodes
from oneflower.stock.record import Recording
from oneflower.stock.recording import RecordingGrid, recorded

from ..making import events_in

CLIENTS, ROUNDS = 3, 4


class Killed(BaseException):
    """Stands for SIGKILL: nothing is told, nothing is tidied up by the app."""


class World:
    """An app with a loop of its own, whose server dies when a test says so."""

    def __init__(self, folder, **settings):
        self.folder, self.settings = folder, settings
        self.calls, self.dies_at, self.start = [], None, 0
        self.spoil = lambda partition, call, arrays: arrays

    def client(self):
        app = ClientApp()

        @app.query()
        def _(message, context):
            content = RecordDict({"facts": MetricRecord({"size": context.node_config["partition-id"] + 5})})
            return Message(content, reply_to=message)

        @app.train()
        def _(message, context):
            partition = context.node_config["partition-id"]
            self.calls.append(partition)
            if len(self.calls) == self.dies_at:
                raise Killed
            number = message.content["config"]["number"]
            rng = np.random.default_rng([partition, number])
            values = message.content["arrays"]["w"].numpy()
            arrays = {"w": Array((0.5 * values + rng.normal(size=values.shape)).astype(np.float32))}
            record = ArrayRecord(self.spoil(partition, len(self.calls), arrays))
            return Message(RecordDict({"arrays": record}), reply_to=message)

        return app

    def config(self, **settings):
        return {
            "num-server-rounds": ROUNDS,
            "checkpoint-enabled": True,
            "checkpoint-path": str(self.folder / "checkpoints"),
            "seed": 3,
            "round-timeout": 5,
            **self.settings,
            **settings,
        }

    def run(self, main, dies_at=None, **settings):
        """Run a main function as a new ServerApp, with nodes of new ids; return what it returns."""
        self.dies_at, self.calls, self.start = dies_at, [], self.start + 1
        run_config = self.config(**settings)
        ids = random.Random(self.start).sample(range(10**9), CLIENTS)
        grid = LocalGrid(self.client(), clients=CLIENTS, run_config=run_config, node_ids=ids, app="test/loop")
        context = Context(self.start, 0, {}, RecordDict(), run_config)
        journal = Journal(self.folder / "journal.jsonl")
        with recorded(grid, context, training_config(run_config), journal) as given:
            return main(given)

    def killed(self, main, dies_at, **settings):
        with pytest.raises(Killed):
            self.run(main, dies_at, **settings)

    def events(self, *tags):
        return events_in(self.folder / "journal.jsonl", *tags)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def messages(nodes, weights, number):
    record = ArrayRecord({"w": Array(weights)})
    content = RecordDict({"arrays": record, "config": ConfigRecord({"number": number})})
    return [Message(content, node, "train") for node in nodes]


def summed(replies, weights):
    total = np.zeros_like(weights)
    good = [reply for reply in replies if not reply.has_error()]
    for reply in good:
        total += reply.content["arrays"]["w"].numpy()
    return (total / max(1, len(good))).astype(np.float32)


def query_then_sample(grid):
    """Ask all, then train rounds with a sample of two, by send_and_receive."""
    nodes = list(grid.get_node_ids())
    asked = grid.send_and_receive([Message(RecordDict(), node, "query") for node in nodes])
    sizes = {reply.metadata.src_node_id: reply.content["facts"]["size"] for reply in asked}
    weights = np.full(6, sum(sizes.values()), np.float32)
    for number in range(ROUNDS):
        chosen = random.sample(sorted(sizes), 2)
        weights = summed(grid.send_and_receive(messages(chosen, weights, number)), weights)
        weights += np.float32(np.random.random())  # noqa: NPY002 - what apps draw from
    return digest(weights)


def push_and_pull(grid):
    """Poll by itself, and take replies in the order in which they come."""
    nodes = list(grid.get_node_ids())
    weights = np.zeros(6, np.float32)
    for number in range(ROUNDS):
        waiting, replies = set(grid.push_messages(messages(nodes, weights, number))), []
        while waiting:
            found = list(grid.pull_messages(waiting))
            waiting -= {reply.metadata.reply_to_message_id for reply in found}
            replies += found
        weights = summed(replies, weights)
    return digest(weights)


def threads(grid):
    """Send from a thread for each node, as Flower's legacy server does."""
    nodes = sorted(grid.get_node_ids())
    weights = np.zeros(6, np.float32)
    for number in range(ROUNDS):
        with ThreadPoolExecutor(CLIENTS) as pool:
            sent = [pool.submit(grid.send_and_receive, [each]) for each in messages(nodes, weights, number)]
            weights = summed([next(iter(each.result())) for each in sent], weights)
    return digest(weights)


def push_alone(grid):
    """Send what each client keeps for itself, and pull no reply to it; then ask for what came of it."""
    nodes = sorted(grid.get_node_ids())
    weights = np.zeros(6, np.float32)
    for number in range(ROUNDS):
        grid.push_messages(messages(nodes, weights, number))
        weights = summed(grid.send_and_receive(messages(nodes, weights, 100 + number)), weights)
    grid.push_messages(messages(nodes, weights, ROUNDS))
    return digest(weights)


def digest(weights):
    return hashlib.sha256(weights.tobytes()).hexdigest()


@pytest.mark.parametrize("main", [query_then_sample, push_and_pull])
@pytest.mark.parametrize("dies_at", range(1, 9))
def test_a_killed_loop_ends_with_the_same_bytes(tmp_path, main, dies_at):
    expected = World(tmp_path / "whole").run(main)
    world = World(tmp_path / "killed")
    world.killed(main, dies_at)
    assert world.run(main) == expected
    done = CLIENTS * ROUNDS if main is push_and_pull else 2 * ROUNDS
    assert len(world.calls) == done - (dies_at - 1), "an answered message was sent again"


def test_it_may_be_killed_again_and_again(tmp_path):
    expected = World(tmp_path / "whole").run(query_then_sample)
    world = World(tmp_path / "killed")
    for _ in range(5):
        world.killed(query_then_sample, 2)
    assert world.run(query_then_sample) == expected


def test_threads_of_one_message_each_are_repeated_by_node(tmp_path):
    expected = World(tmp_path / "whole").run(threads)
    world = World(tmp_path / "killed")
    world.killed(threads, 7)
    assert world.run(threads) == expected


@pytest.mark.parametrize("dies_at", [1, 3, 4, 8, 12, 25])
def test_messages_whose_replies_are_not_pulled_run_once_and_are_repeated(tmp_path, dies_at):
    whole = World(tmp_path / "whole")
    expected = whole.run(push_alone)
    assert len(whole.calls) == CLIENTS * (2 * ROUNDS + 1)
    world = World(tmp_path / "killed")
    world.killed(push_alone, dies_at)
    assert world.run(push_alone) == expected
    assert len(world.calls) == CLIENTS * (2 * ROUNDS + 1) - (dies_at - 1)


def test_without_checkpoints_or_with_replay_off_nothing_is_written(world):
    for settings in ({"checkpoint-enabled": False}, {"replay": False}):
        world.run(query_then_sample, **settings)
        assert not (world.folder / "checkpoints" / "exchanges").exists()


def test_the_app_sees_the_same_node_ids_in_every_start(world):
    seen = [sorted(world.run(lambda grid: list(grid.get_node_ids()))) for _ in range(3)]
    assert seen == [[1000, 1001, 1002]] * 3


def test_replies_come_from_the_node_and_to_the_message_that_the_app_sent(world):
    def main(grid):
        ids = list(grid.push_messages(messages([1002, 1000], np.zeros(2, np.float32), 0)))
        replies = list(grid.pull_messages(ids))
        assert [reply.metadata.src_node_id for reply in replies] == [1000, 1002]
        assert sorted(reply.metadata.reply_to_message_id for reply in replies) == sorted(ids)
        return [reply.content for reply in replies]

    world.run(main)
    live = world.calls
    assert live
    world.run(main)
    assert world.calls == []


def test_a_bad_reply_is_an_error_to_the_app_and_stays_one(world):
    def spoil(partition, _call, arrays):
        return {"w": Array(np.array([np.nan, 1], np.float32))} if partition == 1 else arrays

    def main(grid):
        replies = grid.send_and_receive(messages([1000, 1001, 1002], np.zeros(2, np.float32), 0))
        return [reply.error.reason if reply.has_error() else "good" for reply in replies]

    world.spoil = spoil
    said = world.run(main)
    assert (said[0], said[2]) == ("good", "good")
    assert "NaN or infinity" in said[1]
    world.spoil = lambda partition, call, arrays: arrays
    assert world.run(main) == said
    (event,) = world.events("client_quarantined")
    assert (event.client, event.round) == ("1001", 1)


def test_what_a_client_raises_is_an_error_to_the_app(world):
    def spoil(_partition, _call, _arrays):
        raise SystemExit(5)

    def main(grid):
        (reply,) = grid.send_and_receive(messages([1000], np.zeros(2, np.float32), 0))
        return reply.error.reason

    world.spoil = spoil
    assert "SystemExit" in world.run(main)
    assert [event.client for event in world.events("client_failed")] == ["1000"]


def test_an_app_that_sends_other_messages_goes_on_with_real_ones(world):
    def main(start):
        def run(grid):
            weights = np.full(2, start, np.float32)
            for number in range(2):
                weights = summed(grid.send_and_receive(messages([1000, 1001], weights, number)), weights)
            return digest(weights)

        return run

    first = world.run(main(0))
    other = world.run(main(1))
    assert (first != other, len(world.calls)) == (True, 4)
    assert "other messages" in world.events("recording_stopped")[-1].reason
    assert world.run(main(1)) == other
    assert world.calls == [], "what was sent then is recorded"


def test_another_seed_or_key_of_the_app_starts_it_from_the_beginning(world, caplog):
    expected = world.run(query_then_sample)
    assert world.run(query_then_sample, seed=4) != expected
    assert len(world.calls) == 2 * ROUNDS
    why = "recorded replies are not used: the recording is of a training with other settings"
    assert f"{why}: seed was 3, is 4. files=" in caplog.text
    world.run(query_then_sample, seed=4, **{"app.lr": 0.5})
    assert len(world.calls) == 2 * ROUNDS
    assert f"{why}: app.lr was not set, is 0.5. files=" in caplog.text
    assert sorted(path.name for path in world.folder.glob("checkpoints/exchanges/set-aside-*")) == [
        "set-aside-1",
        "set-aside-2",
    ]


def test_a_recording_of_a_release_without_a_variable_is_used(world):
    """What a release without the variable did is what the variable's default does."""
    world.run(push_and_pull, **{"proximal-term": "auto", "round-retries": 2, "strategy": "app"})
    world.run(push_and_pull)
    assert world.calls == []


def test_a_recording_of_another_app_names_both(tmp_path):
    before = about_of("me/one", 1, {})
    assert how_it_differs(before, about_of("me/two", 1, {})) == "of another app: it was me/one, is me/two"
    assert how_it_differs(before, about_of("me/one", 2, {})) == (
        "of a training with other settings: seed was 1, is 2"
    )
    assert how_it_differs(["damaged"], before) == "of another version of oneflower"
    assert how_it_differs(before, before) == ""


def test_more_rounds_repeat_the_first_ones(world):
    world.run(push_and_pull)
    world.run(push_and_pull, **{"num-server-rounds": 9})
    assert world.calls == []


def test_resume_never_starts_from_the_beginning(world):
    world.run(push_and_pull)
    world.run(push_and_pull, resume="never")
    assert len(world.calls) == CLIENTS * ROUNDS


def test_a_damaged_reply_is_asked_for_again(tmp_path):
    world = World(tmp_path)
    expected = world.run(push_and_pull)
    file = sorted((tmp_path / "checkpoints" / "exchanges").glob("*.reply"))[5]
    file.write_bytes(file.read_bytes()[:-40] + b"x" * 40)
    assert world.run(push_and_pull) == expected
    assert len(world.calls) == 1
    (tmp_path / "checkpoints" / "exchanges" / "00000003.reply").write_bytes(b"torn")
    assert world.run(push_and_pull) == expected


@pytest.mark.parametrize("damage", ["training.json", "replies", "some"])
def test_what_is_damaged_is_set_aside_together_with_one_warning(tmp_path, caplog, damage):
    """F19: each of 12 replies had a folder and a warning of its own, and one more while they were given."""
    world = World(tmp_path)
    expected = world.run(push_and_pull)
    folder = tmp_path / "checkpoints" / "exchanges"
    if damage == "training.json":
        (folder / damage).write_text("{")
    for number, file in enumerate(sorted(folder.glob("*.reply"))):
        if damage == "replies":
            file.write_bytes(b"torn")
        elif damage == "some" and number > 5:
            file.write_bytes(b"torn" if number % 2 else file.read_bytes()[:-40] + b"x" * 40)
    caplog.clear()
    assert world.run(push_and_pull) == expected
    assert [path.name for path in folder.glob("set-aside-*")] == ["set-aside-1"]
    warnings = [
        each for each in caplog.records if "are not used" in each.message and each.levelname == "WARNING"
    ]
    assert len(warnings) == 1
    assert world.run(push_and_pull) == expected
    assert world.calls == []


def test_who_had_which_id_is_kept_with_the_recording(tmp_path):
    """A liar that is online at the next start, under another name, has not the id of another node."""
    about, pins = {"app": "a"}, {"1000": ["5", "honest", True]}
    first = Recording(tmp_path / "exchanges", about=about, most_bytes=1 << 20)
    first.open()
    first.pins.update(pins)
    first.note_nodes(0, [1000])
    first.pins["1001"] = ["6", "late", True]
    first.note_nodes(4, [1000])
    first.close()
    second = Recording(tmp_path / "exchanges", about=about, most_bytes=1 << 20)
    nodes = StableNodes(second.pins)
    second.open()
    second.close()
    nodes.update([4, 9], {4: Identity(partition=0, name="aaa"), 9: Identity(partition=0, name="honest")})
    assert nodes.real(1000) == 9
    assert second.pins["1001"] == ["6", "late", True]


def test_with_a_key_only_replies_that_were_signed_are_used(world, monkeypatch):
    world.run(push_and_pull)
    monkeypatch.setenv("FL_CHECKPOINT_KEY", "a3f1c9d27b604e85f1d2c3b4a5968778")
    with pytest.raises(CheckpointError, match="not signed"):
        world.run(push_and_pull)
    world.run(push_and_pull, resume="never")
    world.run(push_and_pull)
    assert world.calls == []


def test_at_its_limit_the_recording_stops_and_a_crash_goes_back_to_there(tmp_path):
    def main(grid):
        weights = np.zeros(100_000, np.float32)
        for number in range(ROUNDS):
            weights = summed(grid.send_and_receive(messages([1000, 1001], weights, number)), weights)
        return digest(weights)

    expected = World(tmp_path / "whole").run(main)
    world = World(tmp_path / "killed", **{"max-replay-mb": 2})
    world.killed(main, 8)
    assert "FL_MAX_REPLAY_MB=2" in world.events("recording_stopped")[0].reason
    assert world.run(main) == expected
    assert len(world.calls) == 8 - 4
    assert sum(path.stat().st_size for path in tmp_path.glob("killed/checkpoints/exchanges/*")) < 2_000_000


def test_a_full_disk_stops_the_recording_and_not_the_app(world, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    expected = world.run(query_then_sample, resume="never")
    monkeypatch.setattr("oneflower.stock.record.replace_file", full)
    assert world.run(query_then_sample, resume="never") == expected
    assert "No space left" in world.events("recording_stopped")[0].reason


def test_the_journal_says_what_happened_and_no_more(world):
    world.killed(query_then_sample, 5)
    world.run(query_then_sample)
    started = world.events("loop_started")
    assert [event.recorded for event in started] == [0, 3 + 4]
    exchanges = world.events("exchange_completed")
    assert [(each.exchange, each.kind, each.messages, each.replies) for each in exchanges] == [
        (1, "query", 3, 3),
        *((number, "train", 2, 2) for number in range(2, 2 + ROUNDS)),
    ]
    (finished,) = world.events("loop_finished")
    assert (finished.exchanges, finished.replies, finished.failed) == (1 + ROUNDS, 3 + 2 * ROUNDS, 0)
    assert world.events("training_started", "round_completed", "training_finished") == []


def test_a_strategy_of_ours_gets_flowers_grid_and_tells_its_own_end(world):
    def main(grid):
        inner = grid.hand_over()
        assert isinstance(grid, RecordingGrid)
        assert isinstance(inner, LocalGrid)

    world.run(main)
    assert not (world.folder / "journal.jsonl").exists()
    assert not (world.folder / "checkpoints").exists()


def test_clients_get_the_control_record_last_and_the_marks_do_not_reach_the_app(world):
    seen = []

    def main(grid):
        (reply,) = grid.send_and_receive(messages([1000], np.zeros(2, np.float32), 0))
        seen.append(list(reply.content))
        return take_mark(reply)

    assert not world.run(main).name
    assert seen == [["arrays"]]


def test_a_timeout_of_the_apps_is_kept_and_repeated(tmp_path):
    class Slow(LocalGrid):
        def pull_messages(self, ids):
            return iter(()) if any("-7-" in each for each in ids) else super().pull_messages(ids)

    run_config = World(tmp_path).config()

    def run():
        grid = Slow(World(tmp_path).client(), clients=1, run_config=run_config, node_ids=[7], app="a/b")
        now = [0.0]
        inner = RecordingGrid(
            grid,
            config=training_config(run_config),
            journal=None,
            about={},
            clock=lambda: now[0],
            sleep=lambda seconds: now.__setitem__(0, now[0] + seconds),
        )
        try:
            # The node has not said who it is, so its id is that of an unknown one.
            return inner.send_and_receive(messages(inner.get_node_ids(), np.zeros(1), 0), timeout=9), now[0]
        finally:
            inner.close()

    replies, took = run()
    assert replies == []
    assert took >= 9
    replies, took = run()
    assert (replies, took) == ([], 0.0)


@pytest.mark.deployed  # a simulation has no connection that draws
def test_flower_does_not_draw_from_the_generator_of_the_app(world):
    """Its threads draw at times of their own: an app that samples clients would sample others."""
    from flwr.common import inflatable_utils, retry_invoker
    from flwr.supercore import heartbeat

    modules = (inflatable_utils, retry_invoker, heartbeat)

    def drawn(draws):
        def main(_grid):
            for module in modules * draws:
                module.random.uniform(0, 1)
            return random.random()

        return world.run(main)

    assert drawn(0) == drawn(3)
    assert all(module.random is random for module in modules)
