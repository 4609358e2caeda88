"""What an app's loaded modules import decides in whose words a remedy is, and what is said of its noise."""

import importlib.util
import sys
from itertools import count

import pytest

from oneflower.lab.app_check.privacy import check_noise
from oneflower.lab.app_check.probe import Way
from oneflower.lab.app_check.remedies import REMEDIES
from oneflower.lab.app_check.sources import Framework, Sources, loaded_sources

NUMBERS = count()


@pytest.fixture
def load(tmp_path):
    """Load a module of an app in this process, as far as it gets."""
    loaded = []

    def load(text, folder=tmp_path):
        name = f"lab_sources_{next(NUMBERS)}"
        path = folder / f"{name}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        loaded.append(name)
        spec.loader.exec_module(module)
        return loaded_sources(tmp_path)

    yield load
    for name in loaded:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("imports", "framework"),
    [
        ("import numpy as np", Framework.NONE),
        ("from torch import nn", Framework.TORCH),
        ("from oneflower.sdk.torch_app import fit", Framework.TORCH),
        ("from oneflower.sdk import torch_app", Framework.TORCH),
        ("from oneflower.sdk.client import derived_seed", Framework.NONE),
        ("from transformers import Trainer", Framework.TORCH),
        ("import keras", Framework.KERAS),
        ("import tensorflow as tf", Framework.KERAS),
        ("import torch, tensorflow.summary", Framework.TORCH),
        ("import jax.numpy as jnp; from torch.utils.data import DataLoader", Framework.JAX),
        ("from sklearn.linear_model import SGDClassifier", Framework.SKLEARN),
        ("from sklearn.datasets import load_wine; import xgboost as xgb", Framework.XGBOOST),
        ("from .torch import nothing", Framework.NONE),
    ],
)
def test_the_framework_is_the_one_that_the_app_imports(load, imports, framework):
    """Also where the import is in a function, and the package is not installed."""
    assert load(f"def train():\n    {imports}\n").framework == framework


def test_modules_that_are_not_loaded_or_not_the_apps_do_not_count(load, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "other.py").write_text("import torch")
    load("def f():\n    import jax\n")
    assert loaded_sources(tmp_path / "app") == Sources()


@pytest.mark.parametrize("framework", Framework)
def test_each_framework_has_remedies_in_its_own_words(framework):
    remedies = REMEDIES[framework]
    texts = [remedies.reply, remedies.repeat, remedies.mu, remedies.initial]
    assert len(set(texts)) == 4
    others = {"torch_app", "set_determinism", "DataLoader"}
    assert framework is Framework.TORCH or not any(word in text for word in others for text in texts)


WRAPPER = "DifferentialPrivacyServerSideFixedClipping"
WRAPPED = f"def main():\n    from flwr.serverapp.strategy import {WRAPPER} as Private\n"
MOD = "def mods():\n    import flwr\n    return flwr.clientapp.mod.LocalDpMod(1, 1, 1, 1)\n"


@pytest.mark.parametrize(
    ("text", "way", "strategy", "environ", "outcome", "said"),
    [
        (WRAPPED, Way.STRATEGY, "app", {}, "ok", "from a random key, which is in the checkpoints"),
        (WRAPPED, Way.STRATEGY, "FedAvg", {}, "warning", "FL_STRATEGY=FedAvg trains with another strategy"),
        (WRAPPED, Way.SDK, "app", {}, "warning", "oneflower.sdk.train trains with another strategy"),
        (WRAPPED, Way.LOOP, "app", {}, "ok", "from a random key, which is in the folder of the recording"),
        (MOD, Way.STRATEGY, "app", {}, "ok", "noise of LocalDpMod from the file noise-key"),
        (MOD, Way.SDK, "Krum", {}, "ok", "noise of LocalDpMod from the file noise-key"),
        (MOD, Way.SDK, "app", {"ONEFLOWER_NOISE_KEY": "k"}, "warning", "whoever knows it can compute"),
        ("def f():\n    from opacus import PrivacyEngine\n", Way.LOOP, "app", {}, "ok", "noise of opacus"),
        (
            "def f():\n    from flwr.server.strategy import DPFedAvgFixed\n",
            Way.LOOP,
            "app",
            {},
            "ok",
            "the server draws the noise of DPFedAvgFixed from a random key",
        ),
    ],
)
def test_it_is_said_where_the_noise_comes_from(load, text, way, strategy, environ, outcome, said):
    (found,) = check_noise(load(text), way, strategy=strategy, environ=environ)
    assert (found.check, found.outcome) == ("privacy-noise", outcome)
    assert said in found.found
    assert bool(found.fix) == (outcome == "warning")


def test_an_app_without_noise_hears_nothing_of_it(load):
    assert (
        check_noise(load("import math"), Way.SDK, strategy="app", environ={"ONEFLOWER_NOISE_KEY": "k"}) == []
    )
