"""Updates that are finite and absurd, in whole trainings: nobody steers one, and nobody is left out."""

from collections import Counter

import numpy as np
import pytest
from flwr.common import Array

from oneflower.aggregation import SPECS
from oneflower.checkpoints import CheckpointReader, model_digest
from oneflower.codes import LeftOutCode, RoundFailure
from oneflower.errors import SettingsError, TrainingError
from oneflower.flower.records import array_views

from ..federation import Federation, local_update, numpy_app
from ..making import events_in

STRATEGIES = {
    spec.name: (spec.example_clients, {p.key: p.of(spec.example) for p in spec.parameters}) for spec in SPECS
}
EVIL = 1  # its partition; its target is the middle one of three honest


def digest(result):
    return model_digest(array_views(result.arrays))


def events(federation, *names):
    return events_in(federation.folder / "journal.jsonl", *names)


def attack(value=None, rounds=(1, 2, 3, 4), evil=(EVIL,), **said):
    """Return an app whose evil clients put one value everywhere, or say something else beside it."""

    def update(message, context):
        arrays, metrics = local_update(message, context)
        number = message.content["config"]["server-round"]
        if number in rounds and context.node_config["partition-id"] in evil:
            metrics |= {name.replace("_", "-"): told for name, told in said.items()}
            for name, array in arrays.items() if value is not None else ():
                values = array.numpy()
                arrays[name] = Array(np.full_like(values, value if values.dtype.kind == "f" else 2**62))
        return arrays, metrics

    return numpy_app(update)


def federation_of(strategy, folder, **settings):
    clients, parameters = STRATEGIES[strategy]
    return Federation(
        folder=folder, clients=clients, settings={"strategy": strategy, **parameters, **settings}
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_honest_training_has_the_bytes_that_it_has_without_the_bounds(strategy, tmp_path):
    free = {"update-norm-bound": 0.0, "max-client-weight": 0.0}
    with_bounds = federation_of(strategy, tmp_path / "bounds")
    without = federation_of(strategy, tmp_path / "none", **free)
    assert digest(with_bounds.train()) == digest(without.train())
    assert not events(with_bounds, "client_bounded")


@pytest.mark.parametrize("value", [3.4e38, -3.4e38, 1e22])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_finite_absurd_update_does_not_carry_the_model_away(strategy, value, tmp_path):
    """Row 4 and 5 of security.md: FedAvg's accuracy fell to a guess, FedAdam's v became infinite for ever."""
    honest = federation_of(strategy, tmp_path / "honest").train()
    attacked = federation_of(strategy, tmp_path / "attacked")
    attacked.app = attack(value)
    result = attacked.train()
    for name, array in array_views(result.arrays).items():
        assert np.isfinite(array).all()
        if array.dtype.kind == "f":
            assert np.abs(array - array_views(honest.arrays)[name]).max() < 5
        else:
            assert array < 1e6  # a counter: each client adds 1
    checkpoint = CheckpointReader(tmp_path / "attacked").latest()
    assert all(np.isfinite(array).all() for array in checkpoint.state.values())
    assert not events(attacked, "round_failed")
    bounded = events(attacked, "client_bounded")
    # Rules that withstand such a client see it as it is.
    assert bool(bounded) == (
        not [spec for spec in SPECS if spec.name == strategy and spec.family == "robust rule"]
    )
    assert {event.client for event in bounded} <= {str(1000 + EVIL)}
    assert {event.code for event in bounded} <= {LeftOutCode.CHANGE}


def test_a_client_weighs_a_few_times_the_median_whatever_it_says(tmp_path):
    """Row 20 of security.md: 999 times the median passed, 99 % of the mean among ten clients."""
    federation = Federation(folder=tmp_path, clients=10)
    federation.app = attack(num_examples=14 * 999, evil=(9,))
    result = federation.train()
    (event, *_) = events(federation, "client_bounded")
    assert (event.client, event.code) == ("1009", LeftOutCode.NUM_EXAMPLES)
    assert "counted as 280" in event.reason
    # Its target is 9, the honest mean about 4: it has two thirds of the weight, not all of it.
    assert 5 < array_views(result.arrays)["weight"].mean() < 8


def test_the_weight_in_the_metrics_is_bounded_too(tmp_path):
    federation = Federation(folder=tmp_path, clients=5)
    federation.app = attack(num_examples=2.0**50, evil=(4,))
    result = federation.train()
    assert result.train_metrics_clientapp[1]["train_loss"] < 3.7  # 4 is the attacker's alone


@pytest.mark.parametrize("clients", [4, 7])
def test_sybils_have_nobody_left_out_by_what_they_measure_or_weigh(clients, tmp_path):
    """Row 19 of security.md: the honest ones were quarantined, and f fell with each of them."""
    sybils = tuple(range(clients // 2, clients))
    for number, said in enumerate(({"x": 1.0}, {"num_examples": 0.001})):
        federation = Federation(folder=tmp_path / str(number), clients=clients)
        federation.app = attack(evil=sybils, **said)
        federation.train()
        assert not events(federation, "client_quarantined")
        assert [event.valid for event in events(federation, "round_completed")] == [clients] * 4


def test_sybils_that_are_quarantined_do_not_lower_f_for_the_others(tmp_path):
    """Two throw away nodes with NaN, one attacker behind them: with f = 0, Bulyan is the plain mean."""
    settings = {"strategy": "Bulyan", "num-malicious": 1, "min-fit-clients": 7}
    honest = Federation(folder=tmp_path / "honest", clients=7, settings=settings).train()

    def update(message, context):
        arrays, metrics = local_update(message, context)
        partition = context.node_config["partition-id"]
        value = {7: np.nan, 8: np.nan, 3: 1e6}.get(partition)
        if value is not None:
            arrays["weight"] = Array(np.full((6, 4), value, np.float32))
        return arrays, metrics

    attacked = Federation(folder=tmp_path / "attacked", clients=9, settings=settings, app=numpy_app(update))
    attacked.run_config = lambda **more: {
        **Federation.run_config(attacked, **more),
        "min-available-clients": 7,
        "min-fit-clients": 7,
        "min-evaluate-clients": 0,
    }
    result = attacked.train(update_norm_bound=0.0)
    assert len(events(attacked, "client_quarantined")) == 2 * 4
    difference = array_views(result.arrays)["weight"] - array_views(honest.arrays)["weight"]
    assert np.abs(difference).max() < 3


@pytest.mark.parametrize("strategy", ["FedAdam", "FedYogi", "FedAdagrad"])
def test_without_the_bound_a_round_that_would_leave_infinity_fails_and_the_model_stays(strategy, tmp_path):
    settings = {"update-norm-bound": 0.0}
    undisturbed = federation_of(strategy, tmp_path / "undisturbed", **settings).train()
    federation = federation_of(strategy, tmp_path / "attacked", **settings)
    tries = Counter()

    def update(message, context):
        number = message.content["config"]["server-round"]
        tries[number] += 1
        arrays, metrics = local_update(message, context)
        if number == 2 and tries[number] <= federation.clients:
            arrays["weight"] = Array(np.full((6, 4), 1e22, np.float32))
        return arrays, metrics

    federation.app = numpy_app(update)
    result = federation.train()
    failed = events(federation, "round_failed")
    assert [(event.round, event.code) for event in failed] == [(2, RoundFailure.NO_MODEL)]
    assert "'weight' would be infinite or NaN" in failed[0].reason
    assert digest(result) == digest(undisturbed)


def test_a_training_whose_rounds_never_give_a_finite_model_says_so(tmp_path):
    federation = federation_of("FedAdam", tmp_path, **{"update-norm-bound": 0.0})
    federation.app = attack(1e22, rounds=(2,))
    with pytest.raises(TrainingError, match=r"round 2 gave no model 3 times.*Find the client that sends"):
        federation.train(round_retries=2)
    checkpoint = CheckpointReader(tmp_path).latest()
    assert checkpoint.round == 1
    assert all(np.isfinite(array).all() for array in checkpoint.state.values())


def test_a_training_of_before_the_bounds_resumes_and_a_finished_one_stays_finished(tmp_path):
    """Its checkpoints do not know the two settings: they are taken for the defaults."""
    federation = Federation(folder=tmp_path)
    federation.train(num_server_rounds=2)
    given = {"update_norm_bound": 10.0, "max_client_weight": 20.0}
    federation.train(num_server_rounds=2, **given)
    federation.train(num_server_rounds=3, **given)
    assert not events(federation, "settings_changed")
    assert [event.round for event in events(federation, "round_completed")] == [1, 2, 3]


@pytest.mark.parametrize("key", ["update_norm_bound", "max_client_weight"])
@pytest.mark.parametrize("value", [0.5, -1.0, 0.999])
def test_a_bound_below_the_median_is_refused(key, value, tmp_path):
    with pytest.raises(SettingsError, match="0, or 1 or more"):
        Federation(folder=tmp_path).train(**{key: value})
