"""The attacks of the robustness benchmark are those of the papers, and its results are kept in pieces."""

import importlib
import inspect
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from oneflower.errors import AppError
from oneflower.sdk.client import RoundInfo

FOLDER = Path(__file__).parents[2] / "benchmarks"
APP = FOLDER.parent / "apps" / "image-classification"


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


class Trainings:
    """The app's local training and the compiled one, of the same images."""

    def __init__(self, load):
        self.torch = pytest.importorskip("torch")
        self.arrays_of = load("oneflower.sdk.torch_app").model_arrays
        self.client = load("image_classification.client")
        self.model = load("image_classification.model")
        self.data = load("image_classification.data")
        self.net = load("robustness_net")
        self.own_calls = 0

    def own(self, *arguments):
        self.own_calls += 1
        return self.client.local_training(*arguments)

    def run(self, train, *, images=70, size=28, lr=0.05, scale=1.0):
        """Return what a training makes of one model and random images: arrays as NumPy, and the loss."""
        torch, run_config = self.torch, {"image-size": size, "local-epochs": 2, "batch-size": 16}
        torch.manual_seed(3)
        pixels = scale * torch.rand(images, 1, size, size)
        made = self.data.Images(pixels=pixels, labels=torch.randint(0, 10, (images,)))
        info = RoundInfo(round=2, seed=7, lr=lr, proximal_mu=0.0, partition_id=1, num_partitions=3)
        initial = self.model.initial_model(self.model.ImageShape.from_run_config(run_config), 5)
        trained, loss = train(self.arrays_of(initial), made, run_config, info)
        return {name: each.numpy() for name, each in trained.items()}, loss

    @property
    def compiled(self):
        """The training that the benchmark puts in the app's place."""
        return self.net.compiled_training(self.client, self.own)


@pytest.fixture
def trainings(load, monkeypatch):
    monkeypatch.syspath_prepend(str(APP))
    return Trainings(load)


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.parametrize("images", [70, 9, 2])
def test_the_compiled_training_is_the_apps_but_for_the_last_digits(trainings, images):
    compiled, its_loss = trainings.run(trainings.compiled, images=images)
    assert trainings.own_calls == 0
    own, loss = trainings.run(trainings.own, images=images)
    assert its_loss == pytest.approx(loss, rel=1e-5)
    assert list(own) == list(compiled)
    for name, values in own.items():
        assert compiled[name].dtype == values.dtype, name
        assert compiled[name].shape == values.shape, name
        assert np.allclose(compiled[name], values, rtol=1e-4, atol=2e-5), name


def test_the_compiled_training_is_called_as_the_apps(trainings):
    """The app's client names the device, its server (FLTrust) does not."""
    compiled, own = map(inspect.signature, (trainings.compiled, trainings.client.local_training))
    assert [(each.name, each.kind, each.default) for each in compiled.parameters.values()] == [
        (each.name, each.kind, each.default) for each in own.parameters.values()
    ]


def test_other_images_are_trained_by_the_app(trainings):
    compiled, _ = trainings.run(trainings.compiled, size=12)
    assert trainings.own_calls == 1
    own, _ = trainings.run(trainings.own, size=12)
    assert all(np.array_equal(compiled[name], values) for name, values in own.items())


@pytest.mark.parametrize("wrong", [{"lr": 1e30}, {"scale": float("nan")}])
def test_a_loss_that_is_not_finite_is_the_apps_to_judge(trainings, wrong):
    with pytest.raises(AppError, match="loss"):
        trainings.run(trainings.compiled, **wrong)
    assert trainings.own_calls == 1


WRONG = """
import robustness_cells as cells

cells.compiled_training = lambda *_: lambda model: None
cells.run_cell(cells.Cell(split="IID", rule="FedAvg", attack="none", seed=42, rounds=2))
"""


def test_a_client_that_fails_for_a_reason_of_its_own_is_no_result():
    """It is not shown as a training that an attack has ended."""
    pytest.importorskip("torch")
    pytest.importorskip("mlxtend")
    done = subprocess.run(
        [sys.executable, "-c", WRONG], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "no attack does this" in done.stderr
    assert "unexpected keyword argument" in done.stderr
