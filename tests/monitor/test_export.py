"""`status --json` and the JSON report are one document: the short form is a part of the full one."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from oneflower.cli.main import app
from oneflower.codes import LeftOutCode, SupervisorState
from oneflower.journal import Journal, reduce
from oneflower.monitor.export import MOST_LEFT_OUT, SCHEMA, full_document, short_document

from ..making import entry, event, metrics

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = BEGIN + timedelta(minutes=1)


def training(left_out=MOST_LEFT_OUT + 3):
    left = [
        entry(
            "client_quarantined", at=BEGIN, round=1, client=str(n), code=LeftOutCode.NOT_FINITE, reason="NaN"
        )
        for n in range(left_out)
    ]
    return [
        entry("supervisor_state", at=BEGIN, state=SupervisorState.TRAINING),
        entry("training_started", at=BEGIN, rounds=3, strategy="Krum", app="a/b"),
        entry("round_started", at=BEGIN),
        *left,
        entry("round_completed", at=BEGIN, round=1, seconds=4.0, metrics=metrics(central={"loss": 0.5})),
        entry("checkpoint_saved", at=BEGIN, round=1, file="/c/checkpoint_round_1.npz", size_bytes=9),
        entry("settings_used", at=BEGIN),
    ]


def test_the_short_document_is_a_part_of_the_full_one():
    state = reduce(training())
    short, full = short_document(state, NOW), full_document(state, NOW)
    assert short["schema"] == full["schema"] == SCHEMA
    newest = full["left_out"][-MOST_LEFT_OUT:]
    assert short == {**{key: full[key] for key in short}, "left_out": newest}
    assert set(full) - set(short) == {
        "rounds",
        "lost_rounds",
        "clients",
        "checkpoints",
        "timeline",
        "settings",
        "environment",
    }


def test_a_left_out_client_has_a_code_for_programs_and_a_reason_for_people():
    (left,) = short_document(reduce(training(left_out=1)), NOW)["left_out"]
    assert (left["how"], left["code"], left["reason"]) == ("quarantined", "not_finite", "NaN")
    assert short_document(reduce(training()), NOW)["counts"]["quarantines"] == {"not_finite": 8}


@pytest.mark.parametrize("document", [short_document, full_document])
def test_it_is_strict_json_with_plain_values(document):
    found = document(reduce(training()), NOW)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_both_commands_print_it(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(event("training_started", rounds=3, strategy="Krum", app="a/b"))
    journal.append(event("round_completed", round=1, metrics=metrics(central={"loss": 0.5})))
    short, full = (
        json.loads(CliRunner().invoke(app, [*command, str(tmp_path)], catch_exceptions=False).output)
        for command in (["status", "--json"], ["report", "--format", "json"])
    )
    for found in (short, full):
        del found["training"]["last_event_age_seconds"]
    assert short == {key: full[key] for key in short}
