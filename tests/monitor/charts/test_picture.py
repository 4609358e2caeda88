"""A picture is well-formed and shows the finite values, whatever the values are."""

import json
import math
import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from oneflower.monitor.charts.marks import LOST, RESUMED, Mark
from oneflower.monitor.charts.picture import MOST_DOTS, Curves, draw
from oneflower.monitor.charts.scale import LARGEST, axis, last_round_drawn, round_ticks, ticks

VALUES = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12)


def parse(html):
    return ET.fromstring(f"<x>{html}</x>")


def curves(lines, **given):
    rounds = [number for points in lines.values() for number, _ in points] or [1]
    return Curves(**{"title": "Loss", "lines": lines, "first": min(rounds), "last": max(rounds)} | given)


@given(VALUES, VALUES)
def test_ticks_enclose_the_values_and_are_few(a, b):
    low, high = min(a, b), max(a, b)
    found = ticks(low, high)
    step = found[1] - found[0]
    assert found[0] <= low + 1e-6 * step
    assert found[-1] >= high - 1e-6 * step
    assert 2 <= len(found) <= 8


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_rounds_are_labelled_by_few_whole_numbers_of_the_axis(a, b):
    first, last = min(a, b), max(a, b)
    found = round_ticks(first, last)
    assert first in found
    assert set(found) <= set(range(first, last + 1))
    assert len(found) <= 12


@given(st.integers(0, 500), st.integers(1, 500))
def test_the_axis_of_rounds_holds_what_is_done_and_never_ends_beyond_the_plan(done, total):
    last = last_round_drawn(done, total)
    assert last >= done
    assert last <= max(done, total, 2)


@given(st.lists(st.floats(), min_size=1, max_size=MOST_DOTS))
def test_every_finite_value_is_drawn_inside_the_picture(values):
    points = list(enumerate(values, start=1))
    html = draw(curves({"loss": points}))
    finite = [value for value in values if abs(value) <= LARGEST]
    if not finite:
        assert "No round has measured it" in html
        return
    circles = parse(html).findall(".//circle")
    assert len(circles) == len(finite)
    for circle in circles:
        assert 0 <= float(circle.get("cx").rstrip("%")) <= 100
        assert 0 <= float(circle.get("cy").rstrip("%")) <= 100


def test_a_long_training_is_one_line_without_a_smear_of_dots():
    points = [(number, 1 / number) for number in range(1, 1001)]
    picture = parse(draw(curves({"loss": points})))
    assert len(picture.findall(".//circle")) == 1
    assert len(picture.find(".//polyline[@class='line s0']").get("points").split()) == 1000


def test_a_name_cannot_break_out_of_the_picture():
    html = draw(curves({"<script>alert(1)</script>": [(1, 0.5)]}, title='"><script>'))
    assert "<script>" not in html
    assert parse(html).findall(".//circle/title")[0].text == "<script>alert(1)</script>, round 1: 0.5"


def test_a_series_without_values_is_left_out():
    html = draw(curves({"a": [(1, math.nan)], "b": [(1, 1.0), (2, 0.5)]}))
    assert [item[0].tail for item in parse(html).findall(".//li")] == ["b"]


def test_it_is_told_in_words_for_those_who_cannot_see_it():
    html = draw(curves({"server": [(1, 1.0), (2, 0.5)]}))
    label = parse(html).find(".//svg[@role='img']").get("aria-label")
    assert label == "Loss: server from 1 in round 1 to 0.5 in round 2"


def test_the_values_can_be_read_out_by_the_page():
    html = draw(curves({"a": [(1, 1.0), (2, 0.5)], "b": [(2, 3.0)]}))
    data = json.loads(parse(html).find(".//figure").get("data-points"))
    assert data["rounds"] == [1, 2]
    assert data["lines"] == {"a": [1.0, 0.5], "b": [None, 3.0]}


def test_what_was_trained_twice_is_shaded_and_its_lost_curve_kept():
    marked = [Mark(2, RESUMED, ("goes on",)), Mark(4.5, LOST, ("lost",))]
    lines = {"server": [(1, 1.0), (2, 0.8), (3, 0.6)]}
    html = draw(curves(lines, last=6, marks=marked, lost={"server": [[(3, 0.7), (4, 0.5)]]}))
    picture = parse(html)
    again = picture.find(".//rect[@class='again']")
    assert (int(again.get("x")), int(again.get("width"))) == (500, 667)
    assert picture.find(".//polyline[@class='lost s0']") is not None
    assert [sign.text for sign in picture.findall(".//g/text")] == ["↻", "✕"]
    assert "training lost" in html


def test_values_of_many_powers_of_ten_are_laid_out_by_their_logarithm():
    """A loss that an attack sends to 1e31 does not press the other trainings flat."""
    laid = axis([0.16, 0.2, 2.9e31])
    assert laid.is_logarithmic
    assert laid.labels[0][0] <= -1
    assert laid.labels[-1] == (40, "1e40")
    assert not axis([0.1, 2.0]).is_logarithmic
    assert not axis([0.0, 1e9]).is_logarithmic
