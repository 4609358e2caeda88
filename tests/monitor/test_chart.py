"""A chart is a well-formed picture of the finite values, whatever the values are."""

import math
import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from oneflower.monitor.chart import HEIGHT, LARGEST, WIDTH, line_chart, ticks

VALUES = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12)


def parse(html):
    return ET.fromstring(f"<x>{html}</x>")


@given(VALUES, VALUES)
def test_ticks_enclose_the_values_and_are_few(a, b):
    low, high = min(a, b), max(a, b)
    found = ticks(low, high)
    step = found[1] - found[0]
    assert found[0] <= low + 1e-6 * step
    assert found[-1] >= high - 1e-6 * step
    assert 2 <= len(found) <= 8


@given(st.lists(st.floats(), min_size=1, max_size=30))
def test_every_finite_value_is_drawn_inside_the_picture(values):
    points = list(enumerate(values, start=1))
    html = line_chart("Loss", {"loss": points})
    finite = [value for value in values if abs(value) <= LARGEST]
    if not finite:
        assert "No round has measured it" in html
        return
    circles = parse(html).findall(".//circle")
    assert len(circles) == len(finite)
    for circle in circles:
        assert 0 <= float(circle.get("cx")) <= WIDTH
        assert 0 <= float(circle.get("cy")) <= HEIGHT


def test_a_name_cannot_break_out_of_the_picture():
    html = line_chart('"><script>', {"<script>alert(1)</script>": [(1, 0.5)]})
    assert "<script>" not in html
    assert parse(html).findall(".//circle/title")[0].text == "<script>alert(1)</script>, round 1: 0.5"


def test_a_series_without_values_is_left_out():
    html = line_chart("Loss", {"a": [(1, math.nan)], "b": [(1, 1.0), (2, 0.5)]})
    assert [item.text or item[0].tail for item in parse(html).findall(".//li")] == ["b"]
