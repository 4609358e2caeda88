"""What clients say of themselves: no evaluation, the same exception from all, and work that takes long."""

import shutil
import sys

import numpy as np
import pytest
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common import ConfigRecord, Context

from oneflower.errors import AppError, TrainingError
from oneflower.flower.arguments import STATE_VARIABLE
from oneflower.flower.calls.call import call_client
from oneflower.flower.grid import RoundGrid
from oneflower.lab.localgrid import LocalGrid
from oneflower.training.blame import lacks_evaluate, shared_fault

from ..federation import Federation, local_update, numpy_app
from .test_training import digest, events

# --- no @app.evaluate() ---------------------------------------------------------------------------


def train_only():
    app = ClientApp()

    @app.train()
    def _(message: Message, context: Context) -> Message:
        arrays, metrics = local_update(message, context)
        content = RecordDict({"arrays": ArrayRecord(arrays), "metrics": MetricRecord(metrics)})
        return Message(content, reply_to=message)

    return app


def count_sent(monkeypatch, kind):
    sent, push = [], LocalGrid.push_messages

    def counted(self, messages):
        listed = list(messages)
        sent.extend(message for message in listed if message.metadata.message_type == kind)
        return push(self, listed)

    monkeypatch.setattr(LocalGrid, "push_messages", counted)
    return sent


def test_clients_without_an_evaluation_are_asked_once_and_have_not_failed(federation, monkeypatch, caplog):
    federation.app = train_only()
    sent = count_sent(monkeypatch, "evaluate")
    federation.train()
    assert len(sent) == 3
    assert not events(federation, "client_failed")
    assert [event.round for event in events(federation, "evaluation_unavailable")] == [1]
    assert caplog.text.count("the app has no @app.evaluate()") == 1


def test_zero_clients_to_evaluate_asks_none(federation, monkeypatch):
    sent = count_sent(monkeypatch, "evaluate")
    result = federation.train(min_evaluate_clients=0)
    assert sent == []
    assert not result.evaluate_metrics_clientapp
    assert [event.round for event in events(federation, "round_completed")] == [1, 2, 3, 4]


# --- the same exception from all ------------------------------------------------------------------


def raising(make):
    def update(message, context):
        raise make(context.node_config["partition-id"])

    return numpy_app(update)


def test_the_same_exception_of_all_clients_twice_ends_the_training(federation):
    federation.app = raising(lambda _: TypeError("unsupported operand at 0x7f12"))
    with pytest.raises(AppError, match="TypeError") as caught:
        federation.train()
    assert caught.value.exit_code == 5
    assert "every client raised the same exception" in str(caught.value)
    assert [event.tries_left for event in events(federation, "round_failed")] == [10, 0]
    assert events(federation)[-1].error == "AppError"


def test_the_same_malformed_reply_of_all_clients_twice_ends_the_training(federation):
    def update(message, context):
        return [np.zeros(2)], {"num-examples": 1}

    federation.app = numpy_app(update)
    with pytest.raises(AppError, match=r"all clients have the same fault: .*are missing"):
        federation.train()
    assert [event.tries_left for event in events(federation, "round_failed")] == [10, 0]


@pytest.mark.parametrize(
    "make",
    [
        lambda partition: TypeError(f"bad row in part {partition}"),
        lambda _: ConnectionRefusedError("the data server does not answer"),
        lambda _: OSError(28, "No space left on device"),
        lambda _: MemoryError(),
    ],
)
def test_what_differs_or_may_pass_is_tried_to_the_end(federation, make):
    federation.app = raising(make)
    with pytest.raises(TrainingError):
        federation.train(round_retries=3)
    assert len(events(federation, "round_failed")) == 4


def test_an_exception_of_some_clients_ends_nothing(federation):
    def update(message, context):
        if context.node_config["partition-id"] == 1:
            raise TypeError("only here")
        return local_update(message, context)

    federation.app = numpy_app(update)
    federation.train(min_fit_clients=2)
    assert events(federation, "training_finished")


def test_sys_exit_in_a_client_is_an_error_reply(federation):
    """As under `up`, where the executor's child ends; in this process it would end the training silently."""

    def update(message, context):
        if context.node_config["partition-id"] == 1:
            sys.exit("no data")
        return local_update(message, context)

    federation.app = numpy_app(update)
    federation.train(min_fit_clients=2)
    assert "SystemExit" in events(federation, "client_failed")[0].reason
    assert events(federation, "training_finished")


def test_whose_fault_it_is_is_read_from_the_words():
    same = "<class 'TypeError'>:<'at 0x1'>"
    assert shared_fault([same, "<class 'TypeError'>:<'at 0x2'>"], [], 2)
    assert shared_fault([same], [], 2) is None
    assert shared_fault([], [], 0) is None
    assert shared_fault(["<class 'urllib.error.URLError'>:<'down'>"] * 2, [], 2) is None
    assert shared_fault(["<class 'torch.OutOfMemoryError'>:<'CUDA'>"] * 2, [], 2) is None
    assert lacks_evaluate(["<class 'ValueError'>:<'No evaluate function registered with name 'default''>"])


# --- state of their own ---------------------------------------------------------------------------


def counting(seen):
    def update(message, context):
        kept = context.state.config_records.get("counter", ConfigRecord({"calls": 0}))
        seen.append(kept["calls"])
        context.state["counter"] = ConfigRecord({"calls": kept["calls"] + 1})
        return local_update(message, context)

    return numpy_app(update)


def test_state_that_clients_keep_is_told_when_it_appears_and_when_a_resume_loses_it(federation, caplog):
    seen = []
    federation.app = counting(seen)
    federation.train(num_server_rounds=2)
    federation.train(num_server_rounds=3)
    assert seen[::3] == [0, 1, 0]
    told = [(e.tag, e.round, e.records) for e in events(federation) if "client_state" in e.tag]
    assert told == [("client_state_kept", 1, ("counter",)), ("client_state_lost", 2, ("counter",))]
    assert "clients keep state of their own" in caplog.text
    assert "does not end as one that never stopped" in caplog.text


def test_state_that_is_on_the_clients_disks_comes_back_at_a_resume(federation, caplog, tmp_path, monkeypatch):
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "client-state"))
    seen = []
    federation.app = counting(seen)
    federation.train(num_server_rounds=2)
    federation.train(num_server_rounds=3)
    assert sorted(seen) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    told = [(e.tag, e.round, e.kept) for e in events(federation) if "client_state" in e.tag]
    assert told == [("client_state_kept", 1, "disk")]
    assert "clients keep state on their disks" in caplog.text


def test_a_client_that_has_lost_its_disk_is_named(federation, caplog, tmp_path, monkeypatch):
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "client-state"))
    seen = []
    federation.app = counting(seen)
    federation.train(num_server_rounds=2)
    (training,) = (each for each in (tmp_path / "client-state").iterdir() if each.is_dir())
    shutil.rmtree(training / "1")
    federation.train(num_server_rounds=3)
    assert sorted(seen[6:]) == [0, 2, 2]  # in any order
    (lost,) = events(federation, "client_state_lost")
    assert (lost.round, lost.clients) == (3, ("client-1",))
    assert "it has no state of partition 1" in lost.reason
    assert caplog.text.count("clients have not got the state that they had") == 1


def test_a_resume_without_the_disks_of_before_names_all(federation, tmp_path, monkeypatch):
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "client-state"))
    federation.app = counting([])
    federation.train(num_server_rounds=2)
    monkeypatch.delenv(STATE_VARIABLE)
    federation.train(num_server_rounds=3)
    (lost,) = events(federation, "client_state_lost")
    assert len(lost.clients) == 3


def test_who_adds_the_proximal_term_is_said_once(federation, caplog):
    caplog.set_level("INFO")
    federation.train(num_server_rounds=2, strategy="FedProx")  # this app reads proximal-mu
    assert caplog.text.count("the proximal term is the app's") == 1


def test_a_proximal_term_that_nobody_was_seen_to_add_is_warned_of(federation, caplog):
    def update(message, context):
        message.content["config"] = ConfigRecord({"seed": 1, "server-round": 1})
        return local_update(message, context)

    federation.app = numpy_app(update)
    federation.train(num_server_rounds=2, strategy="FedProx")
    assert caplog.text.count("no step of an optimizer of PyTorch or Keras was seen") == 1


def test_clients_without_state_are_not_told_of(federation):
    federation.train(num_server_rounds=2)
    federation.train(num_server_rounds=3)
    assert not [event for event in events(federation) if "client_state" in event.tag]


def test_a_reply_to_anybody_elses_server_stays_as_the_app_made_it():
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    context.state["counter"] = ConfigRecord({"calls": 1})
    message = Message(RecordDict({"config": ConfigRecord({"server-round": 1})}), 1, "train")
    message.metadata.__dict__["_src_node_id"] = 2
    reply = Message(RecordDict({"metrics": MetricRecord({"a": 1})}), reply_to=message)
    answered = call_client(lambda *_: reply, message, context)
    assert list(answered.content) == ["metrics"]


# --- work that takes longer than the round may ----------------------------------------------------


class SlowGrid(LocalGrid):
    """A client works for so many seconds, in a clock that the test's grid goes by; one after another."""

    def __init__(self, *args, seconds, **options):
        super().__init__(*args, **options)
        self.now, self._seconds, self._free, self._due = 0.0, seconds, {}, {}
        self.asked = []

    def push_messages(self, messages):
        listed = list(messages)
        ids = list(super().push_messages(listed))
        for key, message in zip(ids, listed, strict=True):
            node, kind = message.metadata.dst_node_id, message.metadata.message_type
            start = max(self.now, self._free.get(node, 0.0))
            self._due[key] = self._free[node] = start + self._seconds.get(kind, 0.0)
            self.asked.append((kind, node))
        return ids

    def pull_messages(self, message_ids):
        due = [key for key in message_ids if self._due[key] <= self.now]
        return super().pull_messages(due)


def slow(federation, **seconds):
    inner = SlowGrid(
        federation.app,
        clients=federation.clients,
        run_config=federation.run_config(),
        app="a",
        seconds=seconds,
    )

    def sleep(pause):
        inner.now += max(pause, 1e-3)  # a clock that stands still would wait for ever

    return RoundGrid(inner, clock=lambda: inner.now, sleep=sleep), inner


def train_on(federation, grid, **settings):
    from flwr.app import Context as ServerContext

    from oneflower.training.train import train

    from ..federation import central_loss, initial_arrays

    run_config = federation.run_config(**{key.replace("_", "-"): value for key, value in settings.items()})
    context = ServerContext(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=run_config)
    return train(grid, context, initial_arrays(), central_loss)


def test_a_client_slower_than_the_round_has_not_left_and_its_answer_counts_in_the_next_try(
    federation, tmp_path
):
    expected = digest(Federation(folder=tmp_path / "other").train(num_server_rounds=1))
    grid, inner = slow(federation, train=25.0)
    result = train_on(federation, grid, num_server_rounds=1, round_timeout=10)
    assert digest(result) == expected
    assert not events(federation, "client_left")
    reasons = {event.reason for event in events(federation, "client_failed")}
    assert all("still connected, working since" in reason for reason in reasons)
    assert [event.attempt for event in events(federation, "round_failed")] == [1, 2]
    assert len([kind for kind, _ in inner.asked if kind == "train"]) <= 3 * 3
    assert events(federation, "round_started")[1].clients == 3


def test_clients_that_are_never_fast_enough_fail_it_with_the_timeout_named(federation):
    grid, _ = slow(federation, train=1000.0)
    with pytest.raises(TrainingError, match=r"FL_ROUND_TIMEOUT \(now 10 s\)") as caught:
        train_on(federation, grid, num_server_rounds=1, round_timeout=10, round_retries=2)
    assert "3 clients were connected and at work still" in str(caught.value)
    assert "FL_MIN_FIT_CLIENTS" not in str(caught.value)
    failed = events(federation, "round_failed")
    assert [event.reason for event in failed] == ["0 valid updates, 3 needed, 3 clients still at work"] * 3


def test_a_late_answer_to_another_round_is_of_no_use(federation, tmp_path):
    """One slow client of three: the others complete the rounds, and its old updates enter no later one."""
    expected = digest(Federation(folder=tmp_path / "other").train(num_server_rounds=2))
    grid, _ = slow(federation, train=8.0, evaluate=1.0)
    assert digest(train_on(federation, grid, num_server_rounds=2, round_timeout=100)) == expected
