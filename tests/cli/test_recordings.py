"""`oneflower checkpoints` in the folder of an app with a loop of its own: a recording, and no round."""

import json
import sys

import pytest
from flwr.app import RecordDict

from oneflower.cli.main import main
from oneflower.journal import Journal
from oneflower.journal.events import SettingRow, SettingsUsed
from oneflower.stock.codec import Kept, encode


@pytest.fixture
def oneflower(monkeypatch, capsys):
    monkeypatch.delenv("FL_CHECKPOINT_KEY", raising=False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["oneflower", "checkpoints", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def state(tmp_path):
    folder = tmp_path / "checkpoints" / "exchanges"
    folder.mkdir(parents=True)
    for number in (1, 2, 3):
        kept = Kept(node=1000 + number, number=4, digest="ab", training="cd", content=RecordDict())
        (folder / f"{number:08d}.reply").write_bytes(encode(kept))
    return tmp_path


def spoil(state):
    path = state / "checkpoints" / "exchanges" / "00000002.reply"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_good_recording_is_verified(oneflower, state):
    code, out, _ = oneflower("verify", state)
    assert (code, out) == (0, "recording: 3 of 3 recorded replies good\n")


def test_a_flipped_byte_is_found_and_named(oneflower, state):
    spoil(state)
    code, out, error = oneflower("verify", state)
    assert code == 3
    assert "00000002.reply: DAMAGED, the reply to message 4 to client 1002: its checksum" in out
    assert "1 of 3 recorded replies" in error


def test_list_names_the_recording(oneflower, state):
    code, out, _ = oneflower("list", state)
    assert code == 0
    assert "3 recorded replies of an app that sends its messages in a loop of its own" in out
    recording = json.loads(oneflower("list", state, "--json")[1])["recording"]
    assert recording == str(state / "checkpoints" / "exchanges")


def test_export_says_that_there_is_nothing_to_export(oneflower, state):
    code, _, error = oneflower("export", 3, state)
    assert code == 3
    assert "3 recorded replies" in error
    assert "Choose one of them" not in error


@pytest.mark.parametrize(("value", "told"), [("NO", True), ("YES", False)])
@pytest.mark.parametrize("command", [["list"], ["verify"], ["export", 1]])
def test_the_variable_is_named_where_it_was_off(oneflower, tmp_path, command, value, told):
    row = SettingRow(variable="FL_CHECKPOINT_ENABLED", value=value, source="default")
    Journal(tmp_path / "journal.jsonl").append(SettingsUsed(settings=(row,)))
    _, out, error = oneflower(*command, tmp_path)
    assert ("FL_CHECKPOINT_ENABLED" in out + error) == told
