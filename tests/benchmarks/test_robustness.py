"""The attacks of the robustness benchmark are those of the papers, and its results are kept in pieces."""

import importlib
import math
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


@pytest.fixture
def scene(load):
    rng = np.random.default_rng(3)
    honest = [{"a": rng.normal(size=(3, 4)), "b": rng.normal(size=5)} for _ in range(9)]
    team = [{"a": rng.normal(size=(3, 4)), "b": rng.normal(size=5)} for _ in range(2)]
    model = {"a": np.zeros((3, 4)), "b": np.zeros(5)}
    return load("robustness_attacks").Scene(rng=rng, model=model, honest=honest, own=team[0], team=team)


def vector(arrays):
    return np.concatenate([arrays["a"].ravel(), arrays["b"]])


@pytest.mark.parametrize(("attack", "combine"), [("Min-Max", max), ("Min-Sum", sum)])
def test_an_adaptive_attack_goes_just_as_far_as_the_honest_are_apart(load, scene, attack, combine):
    rows = [vector(each) for each in scene.honest]
    bound = max(combine(float((x - y) @ (x - y)) for y in rows) for x in rows)
    sent = vector(load("robustness_attacks").ATTACKS[attack](scene))
    assert combine(float((sent - y) @ (sent - y)) for y in rows) == pytest.approx(bound, rel=1e-6)
    against = sent - np.mean(rows, axis=0)
    assert np.allclose(against / -np.std(rows, axis=0), against[0] / -np.std(rows, axis=0)[0])


def test_a_little_is_enough_stays_within_the_spread(load, scene):
    """11 clients, 2 malicious: 4 supporters of 9, so that z is the quantile of 5/9 (Baruch et al. 2019)."""
    rows = np.stack([vector(each) for each in scene.honest])
    sent = vector(load("robustness_attacks").ATTACKS["ALIE"](scene))
    assert np.allclose((rows.mean(0) - sent) / rows.std(0), 0.13971, atol=1e-4)


def test_every_attack_sends_arrays_of_the_models_form_and_changes_nothing_it_was_given(load, scene):
    before = [vector(each).copy() for each in (scene.model, scene.own, *scene.honest)]
    for name, attack in load("robustness_attacks").ATTACKS.items():
        sent = attack(scene)
        assert {key: value.shape for key, value in sent.items()} == {"a": (3, 4), "b": (5,)}, name
    assert all(
        np.array_equal(x, vector(y))
        for x, y in zip(before, (scene.model, scene.own, *scene.honest), strict=True)
    )


def test_equal_honest_updates_leave_an_adaptive_attack_nothing_to_hide_behind(load, scene):
    same = [scene.honest[0]] * 9
    other = load("robustness_attacks").Scene(
        rng=scene.rng, model=scene.model, honest=same, own=scene.own, team=scene.team
    )
    sent = vector(load("robustness_attacks").ATTACKS["Min-Max"](other))
    assert np.allclose(sent, vector(same[0]))


def cells(load):
    cell = load("robustness_cells").Cell
    made = [
        cell(split="IID", rule="FedAvg", attack="attackers removed", seed=seed, rounds=10, accuracy=accuracy)
        for seed, accuracy in ((42, 93.0), (43, 95.0))
    ]
    made += [
        cell(
            split="IID", rule="Krum", attack="sign flip", seed=42, rounds=10, accuracy=90.0, worst_client=80.0
        ),
        cell(split="IID", rule="Krum", attack="none", seed=42, rounds=10, accuracy=91.0, worst_client=81.0),
        cell(split="IID", rule="FedAvg", attack="NaN", seed=43, rounds=10),
    ]
    return made


def test_results_are_kept_line_by_line_and_a_torn_line_is_run_again(load, tmp_path):
    run = load("robustness")
    file = tmp_path / "results.jsonl"
    text = "".join(map(run.line_of, cells(load)))
    file.write_text(text + text.splitlines()[0][:30])
    found = run.read_results(file)
    assert [cell.key for cell in found] == [cell.key for cell in cells(load)]
    assert math.isnan(found[-1].accuracy)
    assert run.read_results(tmp_path / "none") == []


def test_losses_are_of_the_seeds_that_both_have(load):
    page = load("robustness_page")
    assert page.losses(cells(load)) == {"FedAvg": {"IID": 100.0}, "Krum": {"IID": 3.0}}
    assert list(page.most_lost(page.losses(cells(load)))) == ["Krum", "FedAvg"]


def test_a_table_shows_mean_and_range_and_what_ended(load):
    table = load("robustness_page").table(cells(load), "IID")
    assert "| *attackers removed* | 94.0 (93-95) |" in table
    assert "| **Krum** | 91.0 | 90.0 |" in table
    assert "ended" in table
