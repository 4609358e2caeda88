"""What is said when a round has failed as often as it may names what an operator can change."""

import pytest

from oneflower.codes import RoundFailure
from oneflower.flower.api import Error, ErrorCode
from oneflower.flower.refusals import larger_replies, was_too_large
from oneflower.settings import TrainingConfig
from oneflower.training.advice import advice


def said(*, silent=0, too_large=0, code=RoundFailure.FEW_UPDATES, **given):
    return advice(code, TrainingConfig(**given), silent=silent, too_large=too_large)


def test_replies_that_are_too_large_name_the_variable_and_its_value():
    """The final error said nothing of FL_MAX_UPDATE_MB, which was the cause."""
    assert "1 reply was larger than what is read: raise FL_MAX_UPDATE_MB (now 2)" in said(
        too_large=1, max_update_mb=2
    )
    assert "3 replies were larger" in said(too_large=3)
    assert "FL_MAX_UPDATE_MB (now 0, which follows from the model)" in said(too_large=3)


def test_clients_at_work_name_the_timeout():
    assert said(silent=1).startswith(
        "1 client was connected and at work still when FL_ROUND_TIMEOUT (now 3600 s)"
    )


def test_otherwise_the_quorum_is_named():
    assert "FL_MIN_FIT_CLIENTS (now 2)" in said()
    assert "Find the client" in said(code=RoundFailure.NO_MODEL)


@pytest.mark.parametrize(
    ("limit", "word"),
    [(0, "set FL_MAX_UPDATE_MB to their size"), (5_000_000, "raise FL_MAX_UPDATE_MB (now 5)")],
)
def test_a_limit_that_is_set_is_raised_and_not_set(limit, word):
    assert word in larger_replies(limit)


def test_what_the_superlink_answers_for_a_large_reply_is_recognised():
    reason = f"The SuperLink refused a reply of more than 5 MB. {larger_replies(5_000_000)}"
    assert was_too_large(Error(ErrorCode.REPLY_MESSAGE_UNAVAILABLE, reason))
    assert not was_too_large(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason))
    assert not was_too_large(Error(ErrorCode.REPLY_MESSAGE_UNAVAILABLE, "gone"))
