"""The report is one page that needs no network, runs no script, and shows what others wrote as text."""

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from oneflower.journal import reduce
from oneflower.journal.events import SettingRow
from oneflower.monitor.html.report import MOST_LEFT_OUT, render_report, write_report

from ...making import entry, metrics

BEGIN = datetime(2026, 1, 1, 10, tzinfo=UTC)
VOID = {"meta", "link"}
EVIL = '<script>alert("1")</script><img src=x onerror=y> ${title} $title \x1b[2J'


class Page(HTMLParser):
    """Collect the tags, the attributes and the text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = set(), [], "", []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def completed(number, text):
    return entry(
        "round_completed",
        at=BEGIN + timedelta(seconds=number),
        round=number,
        rounds=2,
        valid=3,
        seconds=1.5,
        metrics=metrics(
            central={"loss": 1 / number, "accuracy": number / 4, text: 1.0}, train={"train_loss": 2 / number}
        ),
    )


def events(*, text="plain"):
    return [
        entry("training_started", at=BEGIN, rounds=2, strategy=text, app=text, parameters={text: 1}),
        *(completed(number, text) for number in (1, 2)),
        entry("checkpoint_saved", round=2, file=f"/s/{text}.npz", size_bytes=5, sha256=text),
        entry("client_quarantined", round=2, client=text, reason=text),
        entry("training_finished", round=2, rounds=2, sha256=text, path=text),
    ]


def page(**given):
    rows = [SettingRow(variable="FL_SEED", value=given.get("text", "42"), source="context")]
    return render_report(reduce(events(**given)), rows)


def test_the_page_tells_what_was_trained():
    text = Page(page(text="plain")).text
    for part in (
        "All 2 rounds are done.",
        "0.5000",
        "Finished",
        "plain.npz",
        "server: accuracy",
        "FL_SEED",
        "2026-01-01 10:00:00",
    ):
        assert part in text


def test_the_page_needs_no_network_and_runs_no_script():
    html = page()
    parsed = Page(html)
    assert not parsed.tags & {"script", "img", "iframe", "object", "form"}
    assert not [name for name, _ in parsed.attributes if name in {"src", "style"} or name.startswith("on")]
    links = [value for name, value in parsed.attributes if name == "href"]
    assert all(link.startswith(("#", "data:image/svg+xml,")) for link in links)
    assert not re.search(r"url\(|@import|https?:", html)
    assert "default-src 'none'" in html


def test_the_page_is_well_formed():
    assert Page(page()).open == []


def test_texts_from_outside_stay_texts():
    """A client chooses its error texts and metric names; an operator chooses paths and settings."""
    html = page(text=EVIL)
    parsed = Page(html)
    assert not parsed.tags & {"script", "img"}
    assert "$title" in parsed.text
    assert "\x1b" not in html
    assert parsed.text.count("onerror=y") >= 8


def test_light_and_dark_are_both_styled():
    assert "color-scheme: light dark" in page()


def test_an_unfinished_training_has_a_page_too():
    text = Page(render_report(reduce(events()[:2]))).text
    assert "The training has not finished." in text
    assert "1 of 2 rounds are done" in text


def test_an_empty_journal_has_a_page():
    assert "No round has measured it" in render_report(reduce([]))


def test_a_hostile_client_cannot_make_the_page_endless():
    left = [entry("client_failed", round=n, client="7", reason="r") for n in range(MOST_LEFT_OUT + 5)]
    html = render_report(reduce(left))
    assert html.count('<td data-head="Reason">r</td>') == MOST_LEFT_OUT
    assert "5 earlier ones" in html


def test_the_page_is_written_whole(tmp_path):
    write_report(tmp_path / "report.html", reduce(events()))
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(OSError, match="none"):
        write_report(tmp_path / "none" / "report.html", reduce([]))


def test_a_page_that_cannot_be_put_in_its_place_leaves_no_half_of_it(tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_report(tmp_path / "report.html", reduce([]))
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
