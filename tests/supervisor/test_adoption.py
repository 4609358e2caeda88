"""A run that somebody submits is adopted: kept, submitted again when it is lost, let go on request."""

import hashlib
import json

import pytest

from oneflower.codes import Submitter
from oneflower.errors import AppError, SettingsError, StateError
from oneflower.flower.control import RunState
from oneflower.flower.fab import declared_keys_of
from oneflower.flower.fab_file import repacked_fab
from oneflower.flower.operator_config import completed
from oneflower.journal import Journal, read_journal
from oneflower.settings import APP_CONFIG_KEYS, RESUME, ROUNDS, resolve, run_config, training_config
from oneflower.supervisor import adoption
from oneflower.supervisor.adopted import KEPT_NAME, MEMORY_NAME, Adopted, Ledger, keep, kept, let_go
from oneflower.supervisor.adoption import Adopter
from oneflower.supervisor.job import Job
from oneflower.supervisor.machine import State
from oneflower.supervisor.memory import load
from oneflower.supervisor.supervisor import Supervisor

from .test_own_app import PYPROJECT, bundle, declared

COMPLETED = ("finished", "completed", "")
LOST = ("finished", "failed", "No heartbeat received from the run.")
BROKEN = ("finished", "failed", "division by zero")
STOPPED = ("finished", "stopped", "")
RUNNING = ("running", "", "")
BY_HAND = 77


class Submitted:
    """Adds what somebody else has submitted to the played Control API."""

    def __init__(self, control, folder):
        self.control, self.folder = control, folder
        self.foreign = {}
        self.listed = control.runs
        control.runs = self.runs

    def add(self, run_id, *states, content=None, override=None, at="2026-01-01"):
        """``states`` are given out in order, the last one for ever; the first belongs to the first look."""
        content = bundle() if content is None else content
        name = hashlib.sha256(content).hexdigest()
        self.folder.mkdir(exist_ok=True)
        (self.folder / name).write_bytes(content)
        self.foreign[run_id] = (list(states), name, override or {}, at)

    def runs(self):
        made = []
        for run_id, (states, name, override, at) in self.foreign.items():
            status, outcome, details = states.pop(0) if len(states) > 1 else states[0]
            made.append(
                RunState(
                    run_id=run_id,
                    status=status,
                    outcome=outcome,
                    details=details,
                    app="tests/tiny-app",
                    lost=details == LOST[2],
                    bundle=name,
                    override=override,
                    submitted_at=at,
                )
            )
        return [*self.listed(), *made]

    def stop(self, run_id):
        self.foreign[run_id][0][:] = [STOPPED]


@pytest.fixture
def by_hand(played, tmp_path):
    made = Submitted(played.control, tmp_path / "ffs")
    stop = played.control.stop

    def stop_any(run_id):
        if run_id in made.foreign:
            played.control.stopped.append(run_id)
            made.stop(run_id)
            return True
        return stop(run_id)

    played.control.stop = stop_any
    return made


@pytest.fixture
def adopter(played, tmp_path):
    def make(**given):
        settings = resolve({}, {"FL_CHECKPOINT_ENABLED": "YES", **given}).settings
        journal, said = Journal(tmp_path / "journal.jsonl"), []

        def follow(job, memory, file, place):
            return Supervisor(
                place=place,
                job=job,
                memory=memory,
                memory_file=file,
                journal=journal,
                on_event=lambda _event: None,
                say=said.append,
                processes_at=lambda _address: played.processes,
                clock=played.clock,
                sleep=played.clock.sleep,
            )

        made = Adopter(
            place=played.place,
            folder=tmp_path,
            bundles=tmp_path / "ffs",
            run_config=run_config(settings),
            max_restarts=settings.max_restarts,
            journal=journal,
            follow=follow,
            say=said.append,
            clock=played.clock,
            sleep=played.clock.sleep,
        )
        return made, said

    return make


def events(tmp_path, tag):
    return [entry for entry in read_journal(tmp_path / "journal.jsonl") if entry.event.tag == tag]


def test_a_lost_run_is_submitted_again_with_resume(by_hand, adopter, played, tmp_path):
    by_hand.add(BY_HAND, RUNNING, RUNNING, LOST)
    played.control.states = [COMPLETED]
    made, said = adopter(FL_NUM_ROUNDS="9", FL_RESUME="never")
    made.once()
    ((content, config),) = played.control.submitted
    assert content == kept_bundle_repacked()
    assert (config[f"oneflower.{RESUME}"], config[f"oneflower.{ROUNDS}"]) == ("auto", 9)
    assert [(entry.run, entry.event.by) for entry in events(tmp_path, "run_submitted")] == [
        (BY_HAND, Submitter.PERSON),
        (1, Submitter.SUPERVISOR),
    ]
    assert kept(tmp_path).current is None
    assert {BY_HAND, 1} <= set(kept(tmp_path).settled)
    assert f"the training of run {BY_HAND} has finished" in said


def kept_bundle_repacked():
    return repacked_fab(bundle(), "it").content


def test_the_resubmission_has_what_the_person_gave_and_the_operator_set(by_hand, adopter, played):
    """What the operator set holds; else what the run was submitted with; else what the app declares."""
    own = bundle_with("num-server-rounds = 4\nseed = 3")
    given = {"own-key": "mine", "num-server-rounds": 5, "seed": 6}
    by_hand.add(BY_HAND, RUNNING, RUNNING, LOST, content=own, override=given)
    played.control.states = [COMPLETED]
    adopter(FL_SEED="1")[0].once()
    ((content, config),) = played.control.submitted
    trained = training_config({**declared_keys_of(content), **config})
    assert (trained.num_rounds, trained.seed, trained.checkpoint_enabled) == (5, 1, True)
    assert declared_keys_of(content)["own-key"] == "mine"
    assert declared_keys_of(content)["num-server-rounds"] == 5


def test_the_first_run_and_its_resubmission_train_with_the_same_run_config(tmp_path, monkeypatch):
    """What a resume and a recording compare: all but how the run resumes."""
    operator = run_config(resolve({}, {"FL_NUM_ROUNDS": "9", "FL_CHECKPOINT_ENABLED": "YES"}).settings)
    file = tmp_path / "run-config.json"
    file.write_text(json.dumps({**APP_CONFIG_KEYS, **operator}))
    monkeypatch.setenv("ONEFLOWER_RUN_CONFIG", str(file))
    content, given = bundle_with("num-server-rounds = 4"), {"own-key": "mine"}
    first = completed({**declared_keys_of(content), **given})
    adopted = Adopted(run=1, bundle=content, override=given)
    job = Job(fab=adopted.fab(), run_config=adopted.run_config(operator), max_restarts=0)
    second = {**declared_keys_of(job.fab.content), **job.config(began=False)}
    assert first == second
    assert training_config(first).num_rounds == 9


def bundle_with(line):
    return bundle({"pyproject.toml": PYPROJECT + line + "\n"})


@pytest.mark.parametrize(("state", "told"), [(STOPPED, "was stopped"), (BROKEN, "division by zero")])
def test_what_a_person_stopped_or_the_app_broke_is_not_submitted_again(
    by_hand, adopter, played, tmp_path, state, told
):
    by_hand.add(BY_HAND, RUNNING, RUNNING, state)
    made, said = adopter()
    made.once()
    assert played.control.submitted == []
    assert told in said[-1]
    assert load(tmp_path / MEMORY_NAME).machine.state is State.GIVEN_UP


def test_a_run_that_completes_is_not_submitted_again_and_the_next_one_is_adopted(by_hand, adopter, tmp_path):
    by_hand.add(BY_HAND, RUNNING, RUNNING, COMPLETED)
    made, _ = adopter()
    made.once()
    by_hand.add(78, RUNNING, RUNNING, COMPLETED)
    made.once()
    assert [entry.run for entry in events(tmp_path, "run_submitted")] == [BY_HAND, 78]


def test_the_first_of_two_is_kept_alive_and_the_other_one_named(by_hand, adopter, tmp_path):
    """One training per checkpoint folder."""
    by_hand.add(5, RUNNING, at="2026-01-02")
    by_hand.add(9, *[RUNNING] * 8, COMPLETED, at="2026-01-01")
    made, said = adopter()
    made.once()
    assert [entry.run for entry in events(tmp_path, "run_submitted")] == [9]
    assert sum("run 5 of tests/tiny-app is not kept alive while run 9 is" in line for line in said) == 1


def test_what_has_finished_before_is_left_alone(by_hand, adopter, played, tmp_path):
    by_hand.add(BY_HAND, LOST)
    by_hand.add(78, RUNNING, RUNNING, COMPLETED)
    adopter()[0].once()
    assert [entry.run for entry in events(tmp_path, "run_submitted")] == [78]


def test_a_supervisor_that_was_killed_goes_on_with_the_adopted_run(by_hand, adopter, played, tmp_path):
    by_hand.add(BY_HAND, RUNNING)
    first, _ = adopter()
    played.clock.sleep = raising_after(played.clock, 40)
    with pytest.raises(InterruptedError):
        first.once()
    by_hand.foreign.clear()  # the SuperLink has lost its database, and its storage
    for file in (tmp_path / "ffs").iterdir():
        file.unlink()
    del played.clock.sleep
    played.control.states = [COMPLETED]
    second, _ = adopter()
    second._ledger = kept(tmp_path)
    second.once()
    assert len(played.control.submitted) == 1
    assert "own-key" in declared(second_fab(played))


def second_fab(played):
    class Made:
        content = played.control.submitted[0][0]

    return Made


def raising_after(clock, most):
    left = [most]

    def sleep(seconds):
        clock.now += seconds
        left[0] -= 1
        if left[0] < 0:
            raise InterruptedError

    return sleep


def test_a_run_whose_bundle_is_gone_is_named_and_left_alone(by_hand, adopter, tmp_path):
    by_hand.add(BY_HAND, RUNNING)
    for file in (tmp_path / "ffs").iterdir():
        file.write_bytes(b"another")
    by_hand.add(78, RUNNING, RUNNING, COMPLETED, content=bundle_with("more = 1"), at="2026-01-02")
    made, said = adopter()
    made.once()
    assert any("run 77 of tests/tiny-app is not submitted again" in line for line in said)
    assert [entry.run for entry in events(tmp_path, "run_submitted")] == [78]


def test_a_run_is_let_go_and_goes_on(by_hand, adopter, played, tmp_path):
    by_hand.add(BY_HAND, RUNNING)
    made, _ = adopter()
    let = iter([False] * 3)
    plain = adoption.is_let_go

    def asked_for(folder, runs):
        if next(let, True):
            let_go(folder, BY_HAND)
        return plain(folder, runs)

    adoption.is_let_go = asked_for
    try:
        made.once()
    finally:
        adoption.is_let_go = plain
    assert [entry.run for entry in events(tmp_path, "run_let_go")] == [BY_HAND]
    assert (played.control.stopped, played.control.submitted) == ([], [])
    assert BY_HAND in kept(tmp_path).settled, "it is not adopted a second time"


def test_only_the_adopted_run_can_be_let_go(by_hand, adopter, tmp_path):
    with pytest.raises(
        SettingsError, match=r"run 3 is not one that the supervisor .* keeps alive: expected none"
    ):
        let_go(tmp_path, 3)


def test_a_damaged_ledger_keeps_nobody_alive(tmp_path):
    (tmp_path / KEPT_NAME).write_text(json.dumps({"v": 1, "run": 5, "override": {}, "bundle": "x"}))
    (tmp_path / "adopted.fab").write_bytes(b"cut off")
    assert kept(tmp_path).current is None
    (tmp_path / KEPT_NAME).write_text("{")
    assert kept(tmp_path).settled == ()


def test_a_state_folder_that_cannot_be_written_ends_the_supervisor(by_hand, adopter, tmp_path, monkeypatch):
    by_hand.add(BY_HAND, RUNNING)
    made, _ = adopter()

    def full(_folder, _ledger):
        raise StateError("the disk is full")

    monkeypatch.setattr(adoption, "keep", full)
    with pytest.raises(StateError, match="disk is full"):
        made.once()


class OddError(Exception):
    """Nobody expects it."""


@pytest.mark.parametrize(
    ("override", "content"),
    [
        ({"own-key.inner": 1}, None),
        ({"own-key": b"bytes"}, None),
        ({}, b"PK no bundle"),
        ({}, bundle({"pyproject.toml": f"a = {'[' * 3000}{']' * 3000}"})),
    ],
)
def test_a_run_that_cannot_be_kept_alive_is_settled_and_the_next_one_adopted(
    by_hand, adopter, tmp_path, override, content
):
    by_hand.add(BY_HAND, RUNNING, content=content, override=override)
    by_hand.add(78, RUNNING, RUNNING, COMPLETED, at="2026-01-02")
    made, said = adopter()
    made.once()
    assert sum("run 77 of tests/tiny-app is not submitted again" in line for line in said) == 1
    assert [entry.run for entry in events(tmp_path, "run_submitted")] == [78]
    assert BY_HAND in kept(tmp_path).settled, "nor at the next start"


def test_whatever_the_bundle_of_a_run_raises_the_supervisor_stays(by_hand, adopter, tmp_path, monkeypatch):
    def odd(_adopted):
        raise OddError("from a stranger's bundle")

    by_hand.add(BY_HAND, RUNNING)
    made, said = adopter()
    with monkeypatch.context() as patched:
        patched.setattr(Adopted, "fab", odd)
        assert not made._adopt(made._candidates()[0])
    assert "OddError: from a stranger's bundle" in said[-1]
    assert BY_HAND in kept(tmp_path).settled


def test_an_adopted_run_that_this_release_refuses_is_settled_at_the_next_start(
    by_hand, adopter, tmp_path, monkeypatch
):
    keep(tmp_path, Ledger(current=Adopted(run=BY_HAND, bundle=b"PK of before", override={})))
    made, said = adopter()
    made._ledger = kept(tmp_path)
    made.once()
    assert "run 77 is not submitted again" in said[-1]
    assert kept(tmp_path) == Ledger(settled=(BY_HAND,))


@pytest.mark.parametrize("error", [OddError("odd"), AppError("no app"), SettingsError("no setting")])
def test_what_ends_the_watch_of_a_run_ends_no_supervisor(by_hand, adopter, tmp_path, error):
    def fails(_supervisor):
        raise error

    by_hand.add(BY_HAND, RUNNING)
    made, said = adopter()
    follow = made.follow

    def followed(*given):
        found = follow(*given)
        found.sleep = lambda _: fails(found)
        return found

    made.follow = followed
    made.once()
    assert str(error) in said[-1]
    assert BY_HAND in kept(tmp_path).settled
