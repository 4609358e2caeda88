"""The state of a training: what its events reduce to, after restarts, resumes and interruptions too."""

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.codes import GiveUpCode, LeftOutCode, Outcome, Phase, SupervisorState, Task
from oneflower.journal import EVENTS, BrokenEvent, Entry, UnknownEvent, events, reduce
from oneflower.journal.state import STRIP_ROUNDS
from oneflower.journal.state.reducers import REDUCERS
from oneflower.kinds import ErrorKind
from oneflower.quality import Measure, Origin, best_of

from ..making import entry, metrics

LOSS, ACCURACY = Measure(Origin.CENTRAL, "loss"), Measure(Origin.CENTRAL, "accuracy")
STARTED = {"rounds": 5, "strategy": "FedAvg", "app": "a/b"}


def started(**fields):
    return entry("training_started", **{**STARTED, **fields})


def resumed(after, **fields):
    return entry("training_resumed", round=after, **{**STARTED, **fields})


def completed(number, *, seconds=2.0, **central):
    return entry("round_completed", round=number, rounds=5, seconds=seconds, metrics=metrics(central=central))


def supervisor(state, reason=""):
    return entry("supervisor_state", state=state, reason=reason)


def test_there_is_a_reducer_for_every_event():
    assert set(REDUCERS) == {*EVENTS.values(), UnknownEvent, BrokenEvent}
    exported = {each for _, each in inspect.getmembers(events, inspect.isclass) if hasattr(each, "tag")}
    assert exported == set(REDUCERS)


@pytest.mark.parametrize("tag", EVENTS)
def test_every_event_can_come_first_and_twice(tag):
    state = reduce([entry(tag), entry(tag)])
    assert state.events == 2
    state.left_s(), state.best(), state.measures()


def test_what_is_not_known_is_counted_and_changes_nothing():
    state = reduce([started(), completed(1)])
    before = (state.done, state.phase)
    state.take(Entry(None, BrokenEvent(line="{", why="not JSON")))
    state.take(Entry(None, UnknownEvent(kind="tomorrow", fields={})))
    assert (state.done, state.phase) == before
    assert (state.broken, state.last_broken.why, state.unknown["tomorrow"]) == (1, "not JSON", 1)


def test_rounds_metrics_and_checkpoints_are_kept_by_round():
    state = reduce(
        [
            started(),
            completed(1, loss=0.5, accuracy=0.8),
            entry("checkpoint_saved", round=1, file="c1.npz"),
            completed(2, loss=0.25),
        ]
    )
    assert (state.done, state.total, state.strategy, state.app) == (2, 5, "FedAvg", "a/b")
    assert state.rounds[1].metrics == {LOSS: 0.5, ACCURACY: 0.8}
    assert list(state.checkpoints) == [1]
    assert state.measures() == [ACCURACY, LOSS]


def test_a_resume_forgets_the_rounds_that_are_trained_again():
    rounds = [completed(number, loss=9 - number) for number in (1, 2, 3)]
    state = reduce([started(), *rounds, entry("checkpoint_saved", round=2), resumed(2)])
    assert sorted(state.rounds) == [1, 2]
    assert state.best().round == 2
    assert [each.number for each in state.undone] == [3]
    assert (state.resumed_after, state.resumes) == ([2], 1)
    state.take(completed(3, loss=1))
    assert (state.rounds[3].metrics, state.best().round) == ({LOSS: 1}, 3)


def test_a_start_from_the_beginning_forgets_everything_before():
    state = reduce(
        [started(), completed(1), entry("checkpoint_saved"), entry("client_failed"), started(rounds=3)]
    )
    assert (state.done, state.total, state.best()) == (0, 3, None)
    assert not state.checkpoints
    assert not state.left_out
    assert [each.number for each in state.undone] == [1]


def test_a_training_after_one_that_has_finished_begins_with_an_empty_picture():
    state = reduce([started(), completed(1), entry("training_finished"), started()])
    assert not state.undone
    assert len(state.moments) == 1
    assert (state.finish, state.phase) == (None, Phase.STARTING)


def test_time_left_follows_the_last_rounds():
    state = reduce([started()])
    assert state.left_s() is None
    state.take(completed(1, seconds=10))
    state.take(completed(2, seconds=20))
    assert state.left_s() == 45.0


def test_waiting_ends_when_the_round_starts():
    state = reduce([started(), entry("waiting_for_clients", connected=1, needed=3)])
    assert (state.waiting.connected, state.waiting.needed, state.phase) == (1, 3, Phase.WAITING)
    state.take(entry("round_started", round=1, clients=3))
    assert (state.waiting, state.phase) == (None, Phase.TRAINING)
    state.take(entry("reply_received", client="1", seconds=1.0))
    state.take(entry("reply_received", client="1", phase=Task.EVALUATE))
    assert (state.replies, state.clients, state.answered, state.evaluated) == (1, 3, {"1": 1.0}, {"1"})
    assert state.phase is Phase.EVALUATING


def test_left_out_clients_are_counted_by_the_code_of_the_reason():
    state = reduce(
        [
            started(),
            entry("client_quarantined", client="7", code=LeftOutCode.NOT_FINITE, reason="nan"),
            entry("client_failed", client="8", code=LeftOutCode.NO_ANSWER),
            entry("client_failed", client="8", code=LeftOutCode.NO_ANSWER),
        ]
    )
    first = state.left_out[0]
    assert (first.client, first.code, first.outcome) == ("7", LeftOutCode.NOT_FINITE, Outcome.QUARANTINED)
    assert state.quarantines == {LeftOutCode.NOT_FINITE: 1}
    assert state.failures == {LeftOutCode.NO_ANSWER: 2}
    assert state.absent[1] == {"7": Outcome.QUARANTINED, "8": Outcome.FAILED}
    state.take(entry("reply_received", client="8"))
    assert state.absent[1] == {"7": Outcome.QUARANTINED}
    assert state.roster["8"].rounds == {1: Outcome.ANSWERED}


def test_a_client_that_comes_back_under_another_id_goes_on_with_its_history():
    state = reduce(
        [
            started(),
            entry("client_joined", client="1"),
            entry("client_named", client="1", name="vm-3", partition=0),
            entry("reply_received", round=1, client="1"),
            entry("client_left", client="1"),
            entry("client_joined", client="2"),
            entry("reply_received", round=2, client="2"),
            entry("client_named", client="2", name="vm-3", partition=0),
        ]
    )
    (client,) = state.roster.values()
    assert (client.name, client.shown, client.trained, client.partition) == ("2", "vm-3", 2, 0)
    assert list(client.rounds) == [1, 2]
    assert client.connected


@pytest.mark.parametrize("number", [STRIP_ROUNDS - 1, STRIP_ROUNDS, 500])
def test_a_client_remembers_its_last_rounds_only(number):
    replies = [entry("reply_received", round=each, client="a") for each in range(1, number + 1)]
    rounds = reduce(replies).roster["a"].rounds
    assert list(rounds) == list(range(max(1, number - STRIP_ROUNDS + 1), number + 1))


def test_with_a_limit_the_newest_rounds_are_kept_and_the_best_is_still_known():
    rounds = [completed(number, accuracy=1 / number) for number in range(1, 51)]
    state = reduce([started(), *rounds], most_rounds=3)
    assert sorted(state.rounds) == [48, 49, 50]
    assert state.best().round == 1


def test_a_failure_is_final_without_a_supervisor():
    failed = entry("app_failed", error="ValueError", reason="no", where="server.py:3", kind=ErrorKind.APP)
    state = reduce([started(), failed])
    assert (state.phase, state.failure.words) == (Phase.FAILED, "the app raised ValueError: no (server.py:3)")
    state = reduce([started(), entry("training_failed", reason="no quorum")])
    assert (state.phase, state.failure.reason) == (Phase.FAILED, "no quorum")


@pytest.mark.parametrize("kind", [ErrorKind.APP, ErrorKind.ENVIRONMENT, None])
def test_a_supervised_app_that_fails_comes_back(kind):
    state = reduce([entry("run_submitted", run=1), entry("app_failed", run=1, reason="no", kind=kind)])
    assert (state.phase, state.failure) == (Phase.RESTARTING, None)
    assert "no" in state.supervisor_reason


def test_an_error_of_the_settings_is_final_with_a_supervisor_too():
    state = reduce([entry("run_submitted"), entry("training_failed", kind=ErrorKind.SETTINGS)])
    assert state.phase is Phase.FAILED


def test_a_supervisor_that_gave_up_is_a_failure_also_where_its_last_event_is_missing():
    given_up = supervisor(SupervisorState.GIVEN_UP, "too often")
    state = reduce([entry("run_submitted"), started(), entry("run_lost"), given_up])
    assert (state.phase, state.failure.words) == (Phase.FAILED, "too often")
    state.take(entry("training_gave_up", reason="too often", code=GiveUpCode.TOO_MANY_RESTARTS, restarts=3))
    assert state.failure.code is GiveUpCode.TOO_MANY_RESTARTS
    state.take(supervisor(SupervisorState.WAITING))
    assert (state.phase, state.failure) == (Phase.STARTING, None)


def test_an_app_that_writes_no_events_has_finished_when_its_supervisor_says_so():
    state = reduce([entry("run_submitted"), supervisor(SupervisorState.FINISHED)])
    assert (state.phase, state.finish) == (Phase.FINISHED, None)


@pytest.mark.parametrize("tag", ["run_submitted", "training_started", "training_resumed", "training_failed"])
def test_a_training_that_begins_after_the_finish_is_not_finished(tag):
    finished = entry("training_finished", round=3, sha256="ab")
    assert reduce([started(), finished]).finish.sha256 == "ab"
    assert reduce([started(), finished, entry(tag)]).finish is None


@pytest.mark.parametrize("kind", [ErrorKind.ENVIRONMENT, ErrorKind.SETTINGS])
def test_an_app_that_cannot_be_used_is_a_failure_until_the_supervisor_begins(kind):
    state = reduce([entry("app_unusable", app="mine", kind=kind, reason="it is not there")])
    assert (state.phase, state.failure.words) == (Phase.FAILED, "it is not there")
    state.take(supervisor(SupervisorState.WAITING))
    assert (state.phase, state.failure) == (Phase.STARTING, None)


def test_a_run_that_was_let_go_comes_back_by_nobody():
    """Its end is its own: no supervisor starts it again."""
    state = reduce([entry("run_submitted", run=1, by="person"), started(), entry("run_let_go", run=1)])
    assert state.supervisor is None
    state.take(entry("app_failed", run=1, reason="no", kind=ErrorKind.APP))
    assert state.phase is Phase.FAILED


def test_losses_in_a_row_end_with_a_completed_round():
    state = reduce([entry("run_submitted"), entry("run_lost", restarts=2, delay_s=4.0, reason="gone")])
    assert (state.restarts, state.losses_in_a_row, state.delay_s) == (1, 2, 4.0)
    state.take(supervisor(SupervisorState.TRAINING, "gone"))
    state.take(completed(1))
    assert (state.losses_in_a_row, state.supervisor_reason, state.restarts) == (0, "", 1)


def test_saving_ends_with_the_checkpoint():
    saving = entry("training_saving", round=5, attempt=1, tries=3, reason="full")
    state = reduce([started(), completed(5), saving])
    assert (state.phase, state.saving.attempt) == (Phase.SAVING, 1)
    state.take(entry("checkpoint_saved", round=5))
    assert state.saving is None


CENTRAL = st.dictionaries(st.sampled_from(["accuracy", "loss", "f1"]), st.sampled_from([0.1, 0.5, 0.9]))
STEPS = st.lists(CENTRAL | st.floats(0, 1), max_size=15)


@given(STEPS, st.sampled_from(["", "-loss", "f1"]))
def test_the_best_round_is_the_best_of_the_rounds_that_count(steps, wanted):
    """A step is a completed round, or how far back a resume goes."""
    state = reduce([started(best_metric=wanted)])
    for step in steps:
        if isinstance(step, dict):
            state.take(completed(state.done + 1, **step))
        else:
            state.take(resumed(int(step * state.done), best_metric=wanted))
    assert state.best() == best_of({n: each.metrics for n, each in state.rounds.items()}, state.quality)
