"""What is said when a round has failed as often as it may names what an operator can change."""

import pytest

from oneflower.codes import LeftOutCode, RoundFailure
from oneflower.errors import TrainingError
from oneflower.flower.api import Error, ErrorCode
from oneflower.flower.grid import RoundGrid
from oneflower.flower.refusals import larger_replies, refuse, was_too_large
from oneflower.lab.localgrid import LocalGrid
from oneflower.settings import TrainingConfig
from oneflower.training.advice import advice

from .test_client_words import train_on


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


class RefusingGrid(LocalGrid):
    """Every reply to a train message was larger than what is read."""

    def pull_messages(self, message_ids):
        for message in super().pull_messages(message_ids):
            if message.metadata.message_type == "train":
                refuse(message, "the reply is larger than 1000000 bytes", LeftOutCode.TOO_LARGE)
            yield message


def test_a_training_whose_replies_are_too_large_ends_with_the_variable(federation):
    inner = RefusingGrid(
        federation.app, clients=federation.clients, run_config=federation.run_config(), app="a"
    )
    with pytest.raises(TrainingError, match=r"3 replies were larger.*raise FL_MAX_UPDATE_MB \(now 1\)"):
        train_on(federation, RoundGrid(inner), num_server_rounds=1, round_retries=0, max_update_mb=1)
