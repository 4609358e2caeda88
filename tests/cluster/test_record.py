"""A finished training is known as finished; another one asked for in its folder is not taken for it."""

import pytest

from oneflower.cluster.plan import make_plan
from oneflower.cluster.record import changes, finished_already, last_finish, write_record
from oneflower.errors import SettingsError
from oneflower.journal import Journal
from oneflower.settings import resolve


@pytest.fixture
def plan(tiny_app, tmp_path):
    def make(nodes=2, **given):
        made = make_plan(resolve({}, given), state=tmp_path / "state", nodes=nodes, app=tiny_app)
        made.folder.make()
        return made

    return make


@pytest.fixture
def trained(plan):
    """A folder in which three rounds of FedAvg have been trained to the end."""

    def train(path=None, **given):
        made = plan(**given)
        write_record(made)
        Journal(made.folder.journal).append("training_finished", round=3, rounds=3, sha256="ab", path=path)
        return made

    return train


def test_a_new_folder_has_nothing_finished(plan):
    assert finished_already(plan()) is None
    assert changes(plan()) == []


def test_the_same_training_is_finished(trained, plan):
    trained()
    assert finished_already(plan())["sha256"] == "ab"


def test_more_rounds_go_on_and_fewer_are_done(trained, plan):
    trained()
    assert finished_already(plan(FL_NUM_ROUNDS="4")) is None
    assert finished_already(plan(FL_NUM_ROUNDS="2"))["round"] == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"FL_STRATEGY": "FedAdam"}, "strategy was FedAvg, is FedAdam"),
        ({"FL_SEED": "7"}, "seed was 42, is 7"),
        ({"nodes": 3}, "nodes was 2, is 3"),
    ],
)
def test_another_training_is_refused_with_what_differs(trained, plan, given, said):
    trained()
    with pytest.raises(SettingsError, match=said) as caught:
        finished_already(plan(**given))
    assert "--fresh" in str(caught.value)


@pytest.mark.parametrize(
    "given", [{"FL_LOG_LEVEL": "DEBUG"}, {"FL_ROUND_TIMEOUT": "5"}, {"FL_CHECKPOINT_ENABLED": "YES"}]
)
def test_how_it_runs_does_not_make_it_another_training(trained, plan, given):
    trained()
    assert finished_already(plan(**given))


def test_changed_code_is_the_same_training_that_is_done(trained, plan, tiny_app):
    trained()
    (tiny_app / "tiny_app" / "client.py").write_text("app = 1\n")
    assert finished_already(plan())
    assert [change.key for change in changes(plan())] == ["app-hash"]


def test_a_model_that_has_vanished_is_trained_again(trained, plan, tmp_path):
    trained(path=str(tmp_path / "gone.npz"))
    assert finished_already(plan()) is None


def test_never_resume_trains_again(trained, plan):
    trained()
    assert finished_already(plan(FL_RESUME="never")) is None


@pytest.mark.parametrize(
    "later", ["run_submitted", "training_started", "training_resumed", "training_failed"]
)
def test_a_training_that_began_after_the_finish_is_not_finished(later):
    finish = {"event": "training_finished", "round": 3}
    assert last_finish([finish, {"event": "cluster_started"}]) == finish
    assert last_finish([finish, {"event": later}]) is None


def test_a_damaged_record_is_no_change(plan):
    made = plan()
    made.folder.training.write_text("{")
    assert changes(made) == []
