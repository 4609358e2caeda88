"""Text that others wrote reaches no terminal and no log with a control character in it."""

import io
import logging
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.foreign_text import LONGEST_REASON, continued, cut, for_stream, printable, shown
from oneflower.output import EscapingStream, SteadyStream

ATTACK = (
    "\x1b[2J\x1b[31mPWNED\x1b]0;owned\x07\nINFO :      round completed round=99999/99999 valid=3\r\n"
    "\x9b31m\u202e\u2028\u2066\x00"
)
# No lone surrogate: pytest-xdist cannot hand on a captured log that has one.
ANY = st.text(st.characters(exclude_categories=()))


def is_dangerous(char):
    return unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or "\u202a" <= char <= "\u202e"


@given(ANY)
def test_printable_text_has_no_control_character(text):
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)


@given(ANY)
def test_lines_after_the_first_are_marked(text):
    first, *others = continued(text).split("\n")
    assert first.isprintable()
    assert all(line.startswith("  | ") and line.isprintable() for line in others)


@given(ANY, st.booleans())
def test_no_stream_passes_a_control_on(text, terminal):
    passed = for_stream(text, terminal=terminal)
    allowed = "\n\t\x1b\r" if terminal else "\n\t\x1b"
    assert not [char for char in passed if is_dangerous(char) and char not in allowed]
    passed.encode()  # no surrogate is left


@pytest.mark.parametrize(
    ("given_text", "passed"),
    [
        ("plain\n", "plain\n"),
        ("grün 花 🌸\t|\n", "grün 花 🌸\t|\n"),
        ("\x1b[92mINFO \x1b[0m: line\n", "\x1b[92mINFO \x1b[0m: line\n"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("10%\r20%\r\n", "10%\n20%\n"),
        ("\u202eabc\u2028", "\\u202eabc\\u2028"),
    ],
)
def test_a_file_gets_colours_and_lines_and_nothing_else(given_text, passed):
    assert for_stream(given_text, terminal=False) == passed


def test_a_terminal_gets_what_moves_its_cursor_and_no_title():
    assert for_stream("\r\x1b[2K\x1b[1A\x1b[?25l", terminal=True) == "\r\x1b[2K\x1b[1A\x1b[?25l"
    assert for_stream("\x1b]0;t\x07\x1bc\x9b2J", terminal=True) == "\\x1b]0;t\\x07\\x1bc\\x9b2J"


@pytest.mark.parametrize("kind", [EscapingStream, SteadyStream])
def test_a_stream_escapes_every_way_of_writing(kind):
    inner = io.StringIO()
    stream = kind(inner)
    stream.write(ATTACK + "\ud800")
    stream.writelines([ATTACK, "\n"])
    print(ATTACK, file=stream)
    assert "\x1b]" not in inner.getvalue()
    assert "\x1b[2J" not in inner.getvalue()
    assert not [char for char in inner.getvalue() if is_dangerous(char) and char not in "\n\x1b"]


def test_a_long_text_is_cut_and_its_length_is_said():
    assert cut("short") == "short"
    assert cut("A" * 20_000_000) == "A" * LONGEST_REASON + "... (19998000 more characters)"
    assert cut(cut("A" * 5000)) == cut("A" * 5000)
    assert len(shown("\x1b" * 20_000_000)) < 5 * LONGEST_REASON
    assert shown(ATTACK + "\ud800").isprintable()


@pytest.fixture
def logged():
    """Return what a handler of Flower's writes after `log_through_flower`."""
    from oneflower.flower.api import FLOWER_LOGGER
    from oneflower.flower.logs import log_through_flower

    stream = io.StringIO()
    (kind,) = {type(each) for each in FLOWER_LOGGER.handlers if type(each).__name__ == "ConsoleHandler"}
    handler = kind(colored=False, stream=stream)
    FLOWER_LOGGER.addHandler(handler)
    log_through_flower()
    log_through_flower()
    yield FLOWER_LOGGER, stream
    FLOWER_LOGGER.removeHandler(handler)


def lines_of(stream):
    return stream.getvalue().splitlines()


def test_an_argument_cannot_begin_a_line_of_flowers_log(logged):
    logger, stream = logged
    logger.warning("client failed round=%d reason=%s", 3, ATTACK)
    logging.getLogger("oneflower.checkpoints").warning("folder=%s", ATTACK)
    assert len(lines_of(stream)) == 2
    assert stream.getvalue().replace("\n", "").isprintable()
    assert "client failed round=3 reason=\\x1b[2J" in stream.getvalue()


def test_a_message_and_a_traceback_go_on_in_marked_lines(logged):
    logger, stream = logged
    try:
        int(f"0\n{ATTACK}")
    except ValueError:
        logger.exception(f"one\nINFO :      round completed {ATTACK}")  # noqa: G004 - as Flower does
    lines = lines_of(stream)
    assert all(line.startswith("  | ") for line in lines[1:] if not line.startswith("Traceback"))
    assert any("Traceback" in line for line in lines)
    assert stream.getvalue().replace("\n", "").isprintable()


def test_numbers_keep_their_format_and_other_handlers_their_record(logged, caplog):
    logger, stream = logged
    with caplog.at_level(logging.WARNING):
        logger.warning("%.1f %d %5s", 1.25, 7, "ab\n")
    assert lines_of(stream)[-1].endswith(r"1.2 7  ab\n")
    assert not caplog.records or caplog.records[-1].args == (1.25, 7, "ab\n")


def test_the_command_line_escapes_an_error_and_what_it_prints(tmp_path):
    import subprocess

    name = tmp_path / "a\x1b]0;t\x07\nerror: forged\u202e"
    done = subprocess.run(
        [sys.executable, "-m", "oneflower.cli.main", "checkpoints", "list", str(name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert r"\x1b]0;t\x07" in done.stderr
    assert "\n  | error: forged\\u202e" in done.stderr
    assert "\x1b" not in done.stderr
