"""Several runs may write one journal: each event has an owner, and only the training's own count."""

import json

import pytest

from oneflower.codes import SupervisorState
from oneflower.journal import Current, Journal, Owner, of_training, read_journal, unfinished_round

from .. import making


def event(tag, run=None, **fields):
    return making.entry(tag, run=run, **fields)


def kept(*entries):
    return [each.event.tag for each in of_training(entries)]


def test_every_event_carries_its_owner(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl", owner=Owner(process="b-1-2", run=7))
    journal.append(making.event("round_started"))
    journal.append(making.event("run_lost"), run=8)
    first, second = read_journal(journal.path)
    assert (first.process, first.run, second.run) == ("b-1-2", 7, 8)
    Journal(journal.path, owner=Owner(process="b-1-3")).append(making.event("cluster_started"))
    assert "run" not in json.loads(journal.path.read_text().splitlines()[-1])


def test_what_another_run_says_beside_a_supervised_training_is_left_out():
    assert kept(
        event("run_submitted", 1),
        event("training_started", 1),
        event("training_failed", 2),
        event("training_started", 2),
        event("round_completed", 2),
        event("round_completed", 1),
        event("training_finished", 1),
    ) == ["run_submitted", "training_started", "round_completed", "training_finished"]


def test_a_run_that_is_refused_beside_an_unsupervised_training_is_left_out():
    assert kept(event("training_started", 1), event("training_failed", 2), event("round_completed", 1)) == [
        "training_started",
        "round_completed",
    ]


def test_the_next_run_is_the_training_from_its_submission_on():
    assert kept(
        event("run_submitted", 1),
        event("training_started", 1),
        event("run_lost", 1),
        event("run_submitted", 2),
        event("round_completed", 1),
        event("training_resumed", 2),
    ) == ["run_submitted", "training_started", "run_lost", "run_submitted", "training_resumed"]


@pytest.mark.parametrize(
    "end",
    [
        event("training_gave_up"),
        event("supervisor_state", state=SupervisorState.FINISHED),
        event("supervisor_state", state=SupervisorState.GIVEN_UP),
    ],
)
def test_when_a_supervisor_has_ended_a_run_by_hand_is_the_training(end):
    current = Current()
    for each in (event("run_submitted", 1), event("training_started", 1), end):
        current.takes(each)
    assert current.takes(event("training_resumed", 2))
    assert current.takes(event("round_completed", 2))


def test_events_without_an_owner_are_read_as_before():
    names = [
        "training_started",
        "round_completed",
        "training_failed",
        "training_resumed",
        "training_finished",
    ]
    assert kept(*map(event, names)) == names
    with_runs = [event("run_submitted", 1), *map(event, names)]
    assert kept(*with_runs) == ["run_submitted", *names]


def test_an_unfinished_round_is_the_trainings_own(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(making.event("run_submitted"), run=1)
    journal.append(making.event("round_aggregated", round=3, valid=9), run=2)
    assert unfinished_round(journal.path, 3) is None
    journal.append(making.event("round_aggregated", round=3, valid=2), run=1)
    assert unfinished_round(journal.path, 3).valid == 2
