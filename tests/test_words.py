"""A number and its noun agree."""

import pytest

from oneflower.journal import TrainingState
from oneflower.monitor.text.lines import describe
from oneflower.words import are, counted, have, were

from .making import entry


def test_one_is_singular_and_every_other_number_plural():
    assert [counted(number, "client") for number in (0, 1, 2)] == ["0 clients", "1 client", "2 clients"]
    assert [counted(number, "reply", "replies") for number in (1, 2)] == ["1 reply", "2 replies"]
    assert (are(1), were(1), have(1), are(2), were(0), have(2)) == ("is", "was", "has", "are", "were", "have")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (("cluster_started", {"nodes": 1, "fleet": ""}), "the cluster is up: 1 SuperNode is online"),
        (("round_started", {"round": 1, "rounds": 1, "clients": 1}), "round 1 of 1 starts with 1 client"),
        (("client_joined", {"client": "7", "connected": 1}), "client 7 has joined: 1 is connected"),
        (("training_gave_up", {"restarts": 1, "reason": "x"}), "the supervisor gave up after 1 restart: x"),
    ],
)
def test_lines_of_a_training_with_one_client(given, line):
    tag, fields = given
    assert describe(entry(tag, **fields), TrainingState()) == line


def test_an_error_of_several_lines_is_one_line_without_escapes():
    reason = "2 problems in the settings; nothing was started.\n1. FL_SEED is 'x'\n  2. FL_TRIM_BETA is '7'\n"
    failed = entry("training_failed", error="SettingsError", reason=reason)
    assert describe(failed, TrainingState()) == (
        "training has failed: 2 problems in the settings; nothing was started. 1. FL_SEED is 'x'; "
        "2. FL_TRIM_BETA is '7'"
    )
