"""A finished training is known as finished; another one asked for in its place is not taken for it."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from oneflower.checkpoints import Checkpoint, CheckpointStore
from oneflower.codes import StopReason
from oneflower.errors import SettingsError, StateError
from oneflower.journal import SUPERVISOR_LOCK_NAME
from oneflower.supervisor import finished
from oneflower.supervisor.further import how_to_go_further
from oneflower.supervisor.job import changes
from oneflower.supervisor.machine import State
from oneflower.supervisor.memory import Finished, Memory, goes_back_now, load, locked, taken_up

from ..making import entry

FINISH = entry("training_finished", round=3, rounds=3, sha256="ab")


def changed(finish, **fields):
    return finish._replace(event=dataclasses.replace(finish.event, **fields))


def finished_already(job, before, entries, say=print):
    return finished.finished_already(job, before, entries, say=say)


def memory_of(job, state=State.WAITING, **fields):
    memory = Memory.fresh(job.describe(), max_restarts=job.max_restarts)
    return dataclasses.replace(memory, machine=dataclasses.replace(memory.machine, state=state, **fields))


def test_a_first_start_has_nothing_finished_and_nothing_changed(job):
    assert finished_already(job(), None, []) is None
    assert changes(None, job().describe()) == []


def test_the_same_training_is_finished(job):
    assert finished_already(job(), memory_of(job()), [FINISH]).event.sha256 == "ab"


def test_the_marker_tells_it_where_the_app_writes_no_journal(job):
    before = memory_of(job(), State.FINISHED)
    assert finished_already(job(), before, []) == Finished(event=None)
    assert finished_already(job(FL_NUM_ROUNDS="4"), before, []) is None


def test_more_rounds_go_on_and_fewer_are_refused(job):
    before = memory_of(job())
    assert finished_already(job(FL_NUM_ROUNDS="4"), before, [FINISH]) is None
    with pytest.raises(SettingsError, match="FL_NUM_ROUNDS is 2, and the training here has finished round 3"):
        finished_already(job(FL_NUM_ROUNDS="2"), before, [FINISH])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"FL_STRATEGY": "FedAdam"}, "strategy was app, is FedAdam"),
        ({"FL_SEED": "7"}, "seed was 42, is 7"),
        ({"nodes": 3}, "nodes was 2, is 3"),
    ],
)
def test_another_training_is_refused_with_what_differs(job, given, said):
    with pytest.raises(SettingsError, match=said) as caught:
        finished_already(job(**given), memory_of(job()), [FINISH])
    assert "--fresh" in str(caught.value)


@pytest.mark.parametrize(
    "given", [{"FL_LOG_LEVEL": "DEBUG"}, {"FL_ROUND_TIMEOUT": "5"}, {"FL_CHECKPOINT_ENABLED": "YES"}]
)
def test_how_it_runs_does_not_make_it_another_training(job, given):
    assert finished_already(job(**given), memory_of(job()), [FINISH])


def test_changed_code_is_the_same_training_that_is_done(job):
    before = memory_of(job())
    assert finished_already(job(code=b"other"), before, [FINISH])
    assert [change.key for change in changes(before, job(code=b"other").describe())] == ["app-hash"]


class TestTheModelIsReadBack:
    """That a training has finished is told from the store, not from a line that was once written."""

    @pytest.fixture
    def kept(self, tmp_path):
        """Return the finish of a training whose rounds 2 and 3 are kept."""
        with CheckpointStore(tmp_path / "checkpoints") as store:
            for number in (2, 3):
                arrays = {"w": np.full(1000, number, np.float32)}
                saved = store.save(
                    Checkpoint(
                        round=number,
                        total_rounds=3,
                        arrays=arrays,
                        strategy="FedAvg",
                        parameters={},
                        app="a",
                        seed=1,
                    )
                )
        return changed(FINISH, sha256=saved.sha256, path=str(saved.path))

    def test_a_good_one_is_told_with_its_file_and_digest(self, job, kept):
        assert finished_already(job(), memory_of(job()), [kept]).event == kept.event

    def test_a_flipped_bit_is_named_and_trained_again(self, job, kept):
        path, said = Path(kept.event.path), []
        data = bytearray(path.read_bytes())
        data[-200] ^= 4
        path.write_bytes(bytes(data))
        assert finished_already(job(), memory_of(job()), [kept], said.append) is None
        assert "round 3" in said[0]
        assert "is damaged: checkpoint_round_3.npz has SHA-256" in said[0]

    def test_one_that_has_vanished_is_trained_again(self, job, tmp_path):
        gone = changed(FINISH, path=str(tmp_path / "gone.npz"))
        assert finished_already(job(), memory_of(job()), [gone]) is None

    @pytest.mark.parametrize("wanted", ["2", "3"])
    def test_a_training_that_was_rolled_back_goes_on(self, job, kept, wanted):
        """With FL_NUM_ROUNDS as it was, and with that of the round that it was rolled back to."""
        with CheckpointStore(Path(kept.event.path).parent) as store:
            store.rollback(2)
        said = []
        given = job(FL_NUM_ROUNDS=wanted)
        assert finished_already(given, memory_of(job()), [kept], said.append) is None
        assert len(said) == 1
        assert "round 3, which is not kept any more: it goes on after round 2, the newest one" in said[0]

    def test_another_rounds_model_is_not_taken_for_it(self, job, kept):
        """An earlier release could tell round 3's digest beside the file of round 2."""
        wrong = changed(kept, round=6, rounds=6)
        assert finished_already(job(FL_NUM_ROUNDS="6"), None, [wrong]) is None
        assert finished_already(job(), None, [changed(kept, sha256="ab")]) is None

    def test_a_checkpoint_folder_that_was_moved_is_found_where_the_settings_say(self, job, kept, tmp_path):
        (tmp_path / "checkpoints").rename(tmp_path / "moved")
        there = {"FL_CHECKPOINT_ENABLED": "YES", "FL_CHECKPOINT_PATH": str(tmp_path / "moved")}
        told = finished_already(job(**there), None, [kept])
        assert told.event.path == str(tmp_path / "moved" / "checkpoint_round_3.npz")


STOPPED = changed(FINISH, rounds=9, stopped=StopReason.NO_IMPROVEMENT, because="flat")


class TestStoppedEarly:
    """A training that ended before FL_NUM_ROUNDS is done until the operator asks for more."""

    @pytest.fixture
    def before(self, job):
        return memory_of(job(FL_NUM_ROUNDS="9", FL_EARLY_STOP_ROUNDS="2"))

    def test_it_is_done(self, job, before):
        told = finished_already(job(FL_NUM_ROUNDS="9", FL_EARLY_STOP_ROUNDS="2"), before, [STOPPED])
        assert (told.event.round, told.event.because) == (3, "flat")

    @pytest.mark.parametrize(
        "given",
        [
            {"FL_NUM_ROUNDS": "10", "FL_EARLY_STOP_ROUNDS": "2"},
            {"FL_NUM_ROUNDS": "9", "FL_EARLY_STOP_ROUNDS": "3"},
            {"FL_NUM_ROUNDS": "9", "FL_EARLY_STOP_ROUNDS": "2", "FL_EARLY_STOP_DELTA": "0.1"},
            {"FL_NUM_ROUNDS": "9", "FL_EARLY_STOP_ROUNDS": "0"},
        ],
    )
    def test_more_rounds_or_another_rule_go_on(self, job, before, given):
        assert finished_already(job(**given), before, [STOPPED]) is None

    def test_fewer_rounds_that_it_never_reached_change_nothing(self, job, before):
        given = {"FL_NUM_ROUNDS": "5", "FL_EARLY_STOP_ROUNDS": "2"}
        assert finished_already(job(**given), before, [STOPPED]).event.round == 3

    def test_another_seed_is_refused(self, job, before):
        given = {"FL_NUM_ROUNDS": "9", "FL_EARLY_STOP_ROUNDS": "2", "FL_SEED": "7"}
        with pytest.raises(SettingsError, match="seed was 42, is 7"):
            finished_already(job(**given), before, [STOPPED])


REACHED = changed(STOPPED, stopped=StopReason.TARGET_REACHED, because="reached")
PATIENCE = {"FL_NUM_ROUNDS": "9", "FL_EARLY_STOP_ROUNDS": "2"}
TARGET = {"FL_NUM_ROUNDS": "9", "FL_BEST_METRIC": "-eval_loss", "FL_TARGET_METRIC_VALUE": "0.034"}

OTHER_TARGET = "change or remove FL_TARGET_METRIC_VALUE (now 0.034)"


class TestHowToGoFurther:
    """What a message names has an effect: by why the training ended."""

    @pytest.mark.parametrize(
        ("finish", "given", "says"),
        [
            (FINISH, {}, "raise FL_NUM_ROUNDS above 3"),
            (STOPPED, PATIENCE, "raise FL_EARLY_STOP_ROUNDS (now 2) or raise FL_NUM_ROUNDS above 9"),
            (REACHED, TARGET, OTHER_TARGET),
            (REACHED, PATIENCE | TARGET, OTHER_TARGET),
            (STOPPED, PATIENCE | TARGET, "raise FL_EARLY_STOP_ROUNDS (now 2) or raise FL_NUM_ROUNDS above 9"),
            (REACHED, {"FL_NUM_ROUNDS": "9"}, "raise FL_NUM_ROUNDS above 9"),
            (
                REACHED,
                TARGET | {"FL_NUM_ROUNDS": "3"},
                f"{OTHER_TARGET}, and set FL_NUM_ROUNDS (now 3) above 3",
            ),
            (
                changed(STOPPED, stopped=StopReason.OTHER),
                PATIENCE | TARGET,
                f"raise FL_EARLY_STOP_ROUNDS (now 2) or {OTHER_TARGET} or raise FL_NUM_ROUNDS above 9",
            ),
        ],
    )
    def test_the_hint_follows_the_end(self, job, finish, given, says):
        assert how_to_go_further(finish.event, finish.event.round, job(**given).run_config) == says
        asked = {"FL_SEED": "7", **given}
        with pytest.raises(SettingsError) as caught:
            finished_already(job(**asked), memory_of(job(**given)), [finish])
        assert f"or {says} to train from round 1, because no checkpoint was kept" in str(caught.value)

    def test_what_the_hint_names_goes_on(self, job):
        before = memory_of(job(**TARGET))
        assert finished_already(job(**TARGET), before, [REACHED])
        assert finished_already(job(**TARGET | {"FL_TARGET_METRIC_VALUE": "0.03"}), before, [REACHED]) is None

    def test_a_model_that_is_kept_is_trained_further(self, job, tmp_path):
        with CheckpointStore(tmp_path) as store:
            saved = store.save(
                Checkpoint(
                    round=3,
                    total_rounds=3,
                    arrays={"w": np.ones(3, np.float32)},
                    strategy="FedAvg",
                    parameters={},
                    app="a",
                    seed=1,
                )
            )
        kept = changed(FINISH, sha256=saved.sha256, path=str(saved.path))
        with pytest.raises(SettingsError, match="above 3 to train this model further"):
            finished_already(job(FL_SEED="7"), memory_of(job()), [kept])

    def test_an_app_without_events_is_told_of_rounds(self, job):
        assert how_to_go_further(None, 5, job().run_config) == "raise FL_NUM_ROUNDS above 5"


def test_a_state_folder_of_an_earlier_release_has_changed_in_nothing(job):
    """It knows nothing of how a training ends early."""
    before = memory_of(job())
    new = ("best-metric", "early-stop-rounds", "early-stop-delta", "target-metric-value")
    old = {key: value for key, value in before.training.items() if key not in new}
    assert changes(dataclasses.replace(before, training=old), job().describe()) == []


@pytest.mark.parametrize(
    "later", ["run_submitted", "training_started", "training_resumed", "training_failed"]
)
def test_a_training_that_began_after_the_finish_is_not_finished(job, later):
    assert finished_already(job(), None, [FINISH, entry("cluster_started")])
    assert finished_already(job(), None, [FINISH, entry(later)]) is None


class TestTakenUp:
    """What an earlier supervisor knew counts as long as the training is the same."""

    def test_the_run_and_the_losses_are_kept(self, job):
        before = memory_of(job(), State.TRAINING, run=5, losses=2)
        machine = taken_up(before, job().describe(), max_restarts=10).machine
        assert (machine.state, machine.run, machine.losses) == (State.WAITING, 5, 2)

    def test_another_configuration_starts_over(self, job):
        before = memory_of(job(), State.TRAINING, run=5, losses=2)
        machine = taken_up(before, job(FL_SEED="7").describe(), max_restarts=10).machine
        assert (machine.run, machine.losses) == (None, 0)

    def test_given_up_stays_given_up_until_something_changes(self, job):
        before = memory_of(job(), State.GIVEN_UP, reason="ten losses")
        training = job().describe()
        assert taken_up(before, training, max_restarts=10).machine.state is State.GIVEN_UP
        for again in (
            taken_up(before, training, max_restarts=10, again=True),
            taken_up(before, job(FL_SEED="7").describe(), max_restarts=10),
            taken_up(dataclasses.replace(before, boot="another"), training, max_restarts=10),
        ):
            assert (again.machine.state, again.machine.losses) == (State.WAITING, 0)

    def test_what_is_saved_is_what_is_loaded(self, job, tmp_path):
        before = dataclasses.replace(memory_of(job(), State.LOST, run=3), finish=FINISH, began=True)
        before.save(tmp_path / "training.json")
        assert load(tmp_path / "training.json") == before

    def test_what_an_earlier_version_saved_is_loaded(self, tmp_path):
        """States were prose, and the finish was a line of the journal as it stood there, or empty."""
        machine = {
            "max_restarts": 3,
            "state": "given up",
            "run": None,
            "losses": 4,
            "progressed": False,
            "anew": True,
            "failure": "",
            "final": True,
            "reason": "gave up after 3 restarts",
        }
        line = {"v": 1, "time": "2026-01-02T00:00:00+00:00", "event": "training_finished", "round": 3}
        file = tmp_path / "training.json"
        content = {"v": 1, "training": {"seed": 1}, "machine": machine, "finish": line, "runs": [7]}
        file.write_text(json.dumps(content))
        found = load(file)
        assert (found.machine.state, found.machine.losses, found.runs) == (State.GIVEN_UP, 4, (7,))
        assert found.finish.event.round == 3
        machine["state"] = "finished"
        file.write_text(json.dumps({**content, "finish": {}}))
        assert (load(file).machine.state, load(file).finish) == (State.FINISHED, None)

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"v": 1}', '{"v": 9, "training": {}}'])
    def test_a_damaged_memory_is_none(self, tmp_path, text):
        (tmp_path / "training.json").write_text(text)
        assert load(tmp_path / "training.json") is None

    def test_a_damaged_machine_starts_over(self, tmp_path):
        (tmp_path / "training.json").write_text('{"v": 1, "training": {"seed": 1}, "machine": {"run": "x"}}')
        assert load(tmp_path / "training.json").machine.state is State.WAITING


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_a_lock_that_is_no_file_is_refused_at_once(tmp_path, kind):
    """Opening a named pipe for writing waits until somebody reads it."""
    victim = tmp_path / "victim"
    if kind == "pipe":
        os.mkfifo(tmp_path / SUPERVISOR_LOCK_NAME)
    else:
        (tmp_path / SUPERVISOR_LOCK_NAME).symlink_to(victim)
    with pytest.raises(StateError, match=SUPERVISOR_LOCK_NAME), locked(tmp_path):
        pass
    assert not victim.exists()


class TestGoingBackToARound:
    """FL_RESUME=N stays in a context: the training goes back once for it, not at each start."""

    def test_it_goes_back_once(self):
        memory = Memory.fresh({}, max_restarts=1).with_resume("auto", goes_back=False)
        assert goes_back_now(memory, "4")
        asked = memory.with_resume("4", goes_back=True)
        assert not asked.began
        assert not goes_back_now(asked, "4")
        assert goes_back_now(asked, "3")
        assert not goes_back_now(asked, "auto")

    def test_another_start_with_the_same_round_resumes_from_the_newest(self, job):
        asked = Memory.fresh({}, max_restarts=1).with_resume("4", goes_back=True)
        again = asked.with_resume("4", goes_back=False)
        assert job(FL_RESUME="4").config(began=asked.began)["oneflower.resume"] == "4"
        assert job(FL_RESUME="4").config(began=again.began)["oneflower.resume"] == "auto"

    def test_the_round_survives_the_disk(self, tmp_path):
        asked = Memory.fresh({}, max_restarts=1).with_resume("4", goes_back=True)
        asked.save(tmp_path / "training.json")
        assert load(tmp_path / "training.json").resume == "4"


class TestKeysOfTheAppsOwn:
    def test_the_default_of_the_app_is_no_change_and_another_value_is(self, job):
        plain = job()
        fab = dataclasses.replace(plain.fab, own={"local-epochs": 1})
        plain = dataclasses.replace(plain, fab=fab)
        given = [
            dataclasses.replace(plain, run_config={**plain.run_config, "local-epochs": epochs})
            for epochs in (1, 2)
        ]
        assert [len(changes(memory_of(plain), each.describe())) for each in given] == [0, 1]
        assert given[1].config(began=False)["local-epochs"] == 2
