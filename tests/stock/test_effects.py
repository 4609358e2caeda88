"""A setting that has no effect is an error where safety was asked for, and a warning otherwise."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
    FedXgbBagging,
    FedXgbCyclic,
)

from oneflower.checkpoints import CheckpointReader
from oneflower.errors import SettingsError
from oneflower.journal import JOURNAL_VARIABLE, TrainingState, read_journal
from oneflower.journal.events import ClientQuarantined, TrainingBegun, TrainingStarted
from oneflower.monitor.text.lines import describe
from oneflower.settings.table import BY_KEY
from oneflower.stock import stamp as recording_stamp


def model():
    return ArrayRecord({"w": Array(np.zeros(3, np.float32))})


def own_loop(kind="train"):
    def main(grid, context):
        content = RecordDict({"arrays": model(), "config": ConfigRecord({"server-round": 1})})
        messages = [Message(content, node, kind) for node in grid.get_node_ids()]
        grid.send_and_receive(messages)

    return main


class Own(FedAvg):
    def aggregate_train(self, server_round, replies):
        return super().aggregate_train(server_round, replies)


def starts(make):
    return lambda grid, context: make().start(grid=grid, initial_arrays=model(), num_rounds=2)


def set_by_operator(**values):
    return {**values, "operator-set": ",".join(BY_KEY[name].name for name in values)}


def test_a_robust_strategy_is_refused_for_an_own_loop(stock):
    """Case H: FL_STRATEGY=Krum was printed, and a NaN client passed."""
    with pytest.raises(SettingsError, match="FL_STRATEGY=Krum would have no effect: the app sends"):
        stock(own_loop()).run(**set_by_operator(strategy="Krum"))


def test_a_strategy_with_data_of_the_server_is_refused_for_an_app_that_starts_its_own(stock):
    with pytest.raises(
        SettingsError, match=r"FL_STRATEGY=FLTrust cannot replace the strategy FedAvg.*Robust"
    ):
        stock(starts(FedAvg)).run(**set_by_operator(strategy="FLTrust"))
    assert SettingsError.exit_code == 2


@pytest.mark.parametrize("name", ["update-norm-bound", "max-client-weight"])
def test_a_bound_is_refused_for_an_own_loop_and_for_a_rule_of_the_app(stock, name):
    settings = set_by_operator(**{name: 5.0})
    with pytest.raises(SettingsError, match="would have no effect: the app sends"):
        stock(own_loop()).run(**settings)
    with pytest.raises(SettingsError, match="would have no effect: the app's strategy Own"):
        stock(starts(Own)).run(**settings)
    stock(starts(FedAvg)).run(**settings)


def test_questions_before_a_strategy_are_no_training(stock):
    def main(grid, context):
        own_loop("query")(grid, context)
        starts(FedAvg)(grid, context)

    app = stock(main)
    app.run(**set_by_operator(strategy="FedMedian"))
    entries = read_journal(app.path / "journal.jsonl")
    started = [entry.event for entry in entries if isinstance(entry.event, TrainingStarted)]
    assert [event.strategy for event in started] == ["FedMedian"]


def test_another_setting_without_effect_is_warned_of(stock, caplog):
    stock(own_loop()).run(**set_by_operator(**{"strategy": "FedAdam", "early-stop-rounds": 3}))
    assert "no effect on an app that sends its messages itself: FL_STRATEGY, FL_EARLY_STOP_ROUNDS" in (
        caplog.text
    )


def test_clients_that_shall_be_drawn_are_the_own_loops_choice(stock, caplog):
    stock(own_loop()).run(**set_by_operator(**{"clients-per-round": 2, "round-deadline": 5}))
    assert "sends its messages itself: FL_CLIENTS_PER_ROUND, FL_ROUND_DEADLINE" in caplog.text


def test_a_round_to_resume_from_and_what_keeps_checkpoints_are_warned_of(stock, caplog):
    """F34: a recording is repeated as a whole; there are no rounds and no checkpoints in it."""
    caplog.set_level("INFO")
    stock(own_loop()).run(**set_by_operator(**{"resume": "1", "checkpoint-keep": 2, "num-server-rounds": 5}))
    told = next(each.message for each in caplog.records if "no effect" in each.message)
    assert "FL_CHECKPOINT_KEEP" in told
    assert "FL_RESUME=1 (a recording is repeated as a whole" in told
    assert (
        "FL_NUM_ROUNDS has an effect where the app reads the run-config key num-server-rounds" in caplog.text
    )


@pytest.mark.parametrize("term", ["auto", "app"])
def test_who_adds_the_proximal_term_holds_in_an_own_loop_too(stock, monkeypatch, term):
    """FL_PROXIMAL_TERM=app was auto there."""
    seen = []
    plain = recording_stamp.with_control

    def with_control(content, control):
        seen.append(control.proximal_term)
        return plain(content, control)

    monkeypatch.setattr(recording_stamp, "with_control", with_control)
    stock(own_loop()).run(**set_by_operator(**{"proximal-term": term}))
    assert set(seen) == {term}


def test_a_strategy_that_was_set_replaces_that_of_the_app(stock, caplog):
    def train(message, context, arrays):
        number = context.node_config["partition-id"]
        return {"w": np.full(3, 1e6 if number == 4 else number, np.float32)}, {"num-examples": 1}

    caplog.set_level("INFO")
    app = stock(starts(FedAvg), train=train, clients=5)
    app.run(**set_by_operator(**{"strategy": "FedMedian", "min-evaluate-clients": 0}))
    assert CheckpointReader(app.path).load(2).arrays["w"].tolist() == [2, 2, 2]
    assert "FL_STRATEGY=FedMedian replaces the app's strategy FedAvg" in caplog.text


def test_a_strategy_that_was_set_leaves_a_nan_client_out(stock):
    def train(message, context, arrays):
        number = context.node_config["partition-id"]
        return {"w": np.full(3, np.nan if number == 4 else number, np.float32)}, {"num-examples": 1}

    app = stock(starts(FedAvg), train=train, clients=7)
    settings = {"strategy": "Krum", "num-malicious": 2, "min-evaluate-clients": 0}
    app.run(**set_by_operator(**settings))
    entries = read_journal(app.path / "journal.jsonl")
    assert sum(isinstance(entry.event, ClientQuarantined) for entry in entries) == 2
    assert np.isfinite(CheckpointReader(app.path).load(2).arrays["w"]).all()


def test_what_the_operator_did_not_set_is_the_authors(stock):
    app = stock(starts(lambda: FedAvg(min_train_nodes=3, min_available_nodes=3)), clients=3)
    app.run()
    assert CheckpointReader(app.path).rounds() == (1, 2)
    app.run(**set_by_operator(**{"num-server-rounds": 3}))
    assert CheckpointReader(app.path).rounds() == (1, 2, 3)


@pytest.mark.parametrize("trees", [FedXgbBagging, FedXgbCyclic])
def test_a_rule_of_oneflower_in_place_of_trees_is_refused_at_once(stock, trees):
    """N3: every reply had another shape than the model, and ten attempts quarantined them all."""
    settings = set_by_operator(strategy="Krum")
    with pytest.raises(SettingsError, match=f"FL_STRATEGY=Krum cannot combine.* starts {trees.__name__}"):
        stock(starts(trees)).run(**settings)
    wrapped = starts(lambda: DifferentialPrivacyServerSideFixedClipping(trees(), 0.1, 1.0, 2))
    with pytest.raises(SettingsError, match="cannot combine"):
        stock(wrapped).run(**settings)


MEDIAN = "FedMedian (FL_STRATEGY) instead of the app's FedAvg"


@pytest.mark.parametrize(("strategy", "told"), [("FedMedian", MEDIAN), ("app", "FedAvg (app)")])
def test_the_journal_says_whose_strategy_was_replaced(stock, tmp_path, monkeypatch, strategy, told):
    """That an author's strategy is left out was in the ServerApp's log alone."""
    monkeypatch.setenv(JOURNAL_VARIABLE, str(tmp_path / "journal.jsonl"))
    app = stock(starts(FedAvg))
    app.run(**set_by_operator(strategy=strategy))
    app.run(**set_by_operator(**{"strategy": strategy, "num-server-rounds": 3}))
    state, entries = TrainingState(), list(read_journal(tmp_path / "journal.jsonl"))
    begun = [each for each in entries if isinstance(each.event, TrainingBegun)]
    shown = [describe(each, state).split(", ")[0].split(": ")[1] for each in begun]
    assert shown == [told] * 2
