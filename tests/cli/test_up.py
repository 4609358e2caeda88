"""What `oneflower up` says of a training that has finished already."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from oneflower.cli import up
from oneflower.codes import StopReason
from oneflower.monitor.text.progress import PlainProgress
from oneflower.settings import resolve, run_config

from ..making import entry

TARGET = {"FL_NUM_ROUNDS": "8", "FL_BEST_METRIC": "-eval_loss", "FL_TARGET_METRIC_VALUE": "0.034"}


def finish(**fields):
    return entry("training_finished", round=3, rounds=8, sha256="ab", path="/x/model.npz", **fields).event


def plan_of(given):
    settings = resolve(given).settings
    return SimpleNamespace(settings=settings, run_config=lambda: run_config(settings))


@pytest.mark.parametrize(
    ("event", "given", "says"),
    [
        (
            finish(stopped=StopReason.TARGET_REACHED),
            TARGET,
            "Change or remove FL_TARGET_METRIC_VALUE (now 0.034)",
        ),
        (
            finish(stopped=StopReason.NO_IMPROVEMENT),
            {"FL_NUM_ROUNDS": "8", "FL_EARLY_STOP_ROUNDS": "2"},
            "Raise FL_EARLY_STOP_ROUNDS (now 2) or raise FL_NUM_ROUNDS above 8",
        ),
        (finish(), {}, "Raise FL_NUM_ROUNDS above 3"),
        (None, {}, "Raise FL_NUM_ROUNDS above 7"),
    ],
)
def test_the_advice_names_what_has_an_effect(event, given, says):
    advice = up._advice(plan_of(given), event, 7)
    assert advice == f"{says} to continue, or use --fresh to start from round 1."


def test_without_a_checkpoint_more_rounds_start_from_round_1():
    event = entry("training_finished", round=3, rounds=3, sha256="ab", path=None).event
    advice = up._advice(plan_of({}), event, 3)
    assert advice == (
        "To train more rounds, raise FL_NUM_ROUNDS above 3; they start from round 1, "
        "because no checkpoint was kept."
    )


def test_the_callers_environment_does_not_cancel_the_choice_of_gpus(monkeypatch):
    """ONEFLOWER_GPUS_CHOSEN is for the container of an appliance."""
    given = []

    def session(*, environ, **_):
        given.append(dict(environ))
        return SimpleNamespace(began=False, run=lambda fresh: None)

    monkeypatch.setenv("ONEFLOWER_GPUS_CHOSEN", "YES")
    monkeypatch.setattr(up, "Session", session)
    plan = SimpleNamespace(folder=SimpleNamespace(report=Path("/")))
    up._run(plan, PlainProgress(Console()), companion=None, fresh=False)
    assert "ONEFLOWER_GPUS_CHOSEN" not in given[0]
