"""An attacker is named by the journal of its training, and no honest client is."""

import numpy as np
import pytest
from flwr.common import Array

from oneflower.journal import read_journal, reduce
from oneflower.journal.events import UpdatesMeasured
from oneflower.journal.state import courses, outliers

from ..federation import Federation, local_update, numpy_app

CLIENTS, ATTACKER, ROUNDS = 7, 6, 6


def same_data(message, context):
    """Move towards the same target as all others, with some noise; the attacker goes the other way."""
    config, partition = message.content["config"], context.node_config["partition-id"]
    rng = np.random.default_rng([config["seed"], config["server-round"], partition])
    updated, metrics = local_update(message, context)
    for name, array in message.content["arrays"].items():
        values = array.numpy()
        if values.dtype.kind == "f":
            change = 0.3 * (1 - values) + rng.normal(scale=0.05, size=values.shape)
            factor = -10 if partition == ATTACKER else 1
            updated[name] = Array((values + factor * change).astype(values.dtype))
    return updated, metrics | {"num-examples": 10}


def reduced(folder, strategy, **settings):
    app = numpy_app(same_data)
    settings = {"strategy": strategy, "num_server_rounds": ROUNDS, "update_norm_bound": 0.0, **settings}
    Federation(folder, clients=CLIENTS, app=app).train(**settings)
    return reduce(read_journal(folder / "journal.jsonl"))


@pytest.mark.parametrize(
    "settings",
    [
        {"strategy": "Robust", "num_malicious": 1},
        {"strategy": "Krum", "num_malicious": 1},
        {"strategy": "MultiKrum", "num_malicious": 1},
        {"strategy": "GeometricMedian"},
        {"strategy": "FedMedian"},
        {"strategy": "Krum", "num_malicious": 1, "pre_aggregation": "NNM"},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_who_flips_the_sign_of_its_change_is_an_outlier_and_nobody_else_is(tmp_path, settings):
    state = reduced(tmp_path, **settings)
    (found,) = outliers(state)
    attacker = next(name for name, client in state.roster.items() if client is found.client)
    assert attacker == max(state.roster, key=int)  # LocalGrid numbers its clients in the order of partitions
    assert found.far == found.measured == ROUNDS
    assert all(each.far == 0 for each in courses(state) if each is not found and each.client != found.client)


def test_without_an_attacker_nobody_is_an_outlier(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ATTACKER", None)
    assert outliers(reduced(tmp_path, "Robust", num_malicious=1)) == []


def test_the_weights_in_the_journal_are_those_of_the_rule(tmp_path):
    reduced(tmp_path, "MultiKrum", num_malicious=1)
    events = [each.event for each in read_journal(tmp_path / "journal.jsonl")]
    measured = [event for event in events if isinstance(event, UpdatesMeasured)]
    assert len(measured) == ROUNDS
    for event in measured:
        by_client = dict(zip(event.clients, event.weights, strict=True))
        assert sorted(by_client.values()) == pytest.approx([0.0] + [1 / 6] * 6, abs=1e-4)
        assert by_client[max(event.clients, key=int)] == 0.0
        assert sum(event.selected) == 6
