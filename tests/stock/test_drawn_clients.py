"""A round that draws its clients under an app's own strategy: it sees these, and chooses among them."""

import pytest
from flwr.serverapp.strategy import FedAvg

from oneflower.errors import SettingsError

from .test_app_strategy import Killed, Momentum, digest, events, main_of

DRAWN = {
    "clients-per-round": 3,
    "min-available-clients": 9,
    "evaluate-clients-per-round": 2,
    "operator-set": "FL_CLIENTS_PER_ROUND,FL_MIN_AVAILABLE_CLIENTS,FL_EVALUATE_CLIENTS_PER_ROUND",
}
STRATEGIES = {
    "FedAvg": FedAvg,
    "custom": Momentum,
    "a third of the clients": lambda: FedAvg(fraction_train=0.3, fraction_evaluate=0.3),
    "waits for nine": lambda: FedAvg(min_available_nodes=9),
}


def slots_of(path, phase="train"):
    return {e.round: e.slots for e in events(path) if e.tag == "clients_sampled" and e.phase == phase}


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_takes_the_drawn_clients_and_a_resume_takes_the_same(stock, tmp_path, name):
    app = stock(main_of(STRATEGIES[name]), clients=9)
    app.run(**DRAWN)
    whole, drawn = digest(app.path), slots_of(app.path)
    assert {len(slots) for slots in drawn.values()} == {3}
    assert {len(slots) for slots in slots_of(app.path, "evaluate").values()} == {2}
    assert {e.asked for e in events(app.path) if e.tag == "round_started"} == {3}

    def train(message, context, arrays):
        if message.content["config"]["server-round"] == 3:
            raise Killed
        return type(app).train(message, context, arrays)

    app.path = tmp_path / "killed"
    app.train = train
    with pytest.raises(Killed):
        app.run(**DRAWN)
    app.train = type(app).train
    app.run(node_ids=[91, 12, 83, 24, 75, 36, 67, 48, 59], **DRAWN)
    assert digest(app.path) == whole
    assert slots_of(app.path) == drawn


def test_fedavg_of_the_same_clients_is_that_of_a_strategy_of_ours(stock, tmp_path):
    """FL_STRATEGY replaces the rule; the clients are drawn alike."""
    app = stock(main_of(FedAvg), clients=9)
    app.run(**DRAWN)
    drawn = slots_of(app.path)
    app.path = tmp_path / "ours"
    app.run(strategy="FedAvg", **DRAWN)
    assert slots_of(app.path) == drawn


def test_a_strategy_that_trains_nobody_still_trains_nobody(stock):
    """A fraction of 0 is the author's word that there is no such phase."""
    app = stock(main_of(lambda: FedAvg(fraction_evaluate=0.0)), clients=9)
    app.run(**DRAWN)
    assert not slots_of(app.path, "evaluate")
    assert slots_of(app.path)


def test_a_strategy_with_a_choice_of_its_own_sees_the_drawn_clients_only(stock):
    seen = []

    class Choosing(FedAvg):
        def configure_train(self, server_round, arrays, config, grid):
            seen.append(len(list(grid.get_node_ids())))
            return list(super().configure_train(server_round, arrays, config, grid))[:2]

    app = stock(main_of(Choosing), clients=9)
    app.run(**DRAWN)
    assert set(seen) == {3}
    assert {len(slots) for slots in slots_of(app.path).values()} == {2}


def test_an_author_who_asks_for_more_clients_than_are_drawn_is_told(stock):
    app = stock(main_of(lambda: FedAvg(min_train_nodes=5)), clients=9)
    with pytest.raises(SettingsError, match="FL_CLIENTS_PER_ROUND is 3 and FL_MIN_FIT_CLIENTS is 5"):
        app.run(**DRAWN)
    app.run(**{**DRAWN, "min-fit-clients": 3, "operator-set": DRAWN["operator-set"] + ",FL_MIN_FIT_CLIENTS"})


def test_after_three_attempts_other_clients_are_drawn(stock):
    app = stock(main_of(FedAvg, rounds=1), clients=9)
    app.run(**DRAWN)
    first = slots_of(app.path)[1]

    def train(message, context, arrays):
        if context.node_config["partition-id"] == first[0]:
            raise OSError("no data")
        return type(app).train(message, context, arrays)

    app.train, app.path = train, app.path.with_name("failing")
    settings = {**DRAWN, "operator-set": DRAWN["operator-set"] + ",FL_MIN_FIT_CLIENTS", "min-fit-clients": 3}
    app.run(**settings, **{"round-retries": 5})
    drawn = [e.slots for e in events(app.path) if e.tag == "clients_sampled" and e.phase == "train"]
    assert drawn[:3] == [first] * 3
    assert first[0] not in drawn[3]
    assert set(drawn[3]) > set(first[1:])
    assert [e.asked for e in events(app.path) if e.tag == "round_started"] == [3, 3, 3, 3]
