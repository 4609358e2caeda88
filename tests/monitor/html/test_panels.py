"""A panel is declared once, in its module: the dashboard and the report find it."""

import re

import pytest

from oneflower.journal import reduce
from oneflower.monitor.html import panels
from oneflower.monitor.html.page import live_page, render
from oneflower.monitor.html.panel import Page
from oneflower.monitor.html.panels import all_panels, panels_of
from oneflower.monitor.html.report import render_report
from oneflower.monitor.state.safety import Safety

from ...making import BEGIN, entry, metrics

MODULE = """
from oneflower.monitor.html.markup import el
from oneflower.monitor.html.panel import Panel

PANELS = (Panel(id="weather", heading="Weather", place=65, render=lambda shown: el("p", "sunny")),)
"""


@pytest.fixture
def weather(tmp_path, monkeypatch):
    """Put one more module beside the panels."""
    (tmp_path / "weather.py").write_text(MODULE)
    monkeypatch.setattr(panels, "__path__", [*panels.__path__, str(tmp_path)])
    all_panels.cache_clear()
    yield
    all_panels.cache_clear()


def test_ids_and_places_are_unique():
    assert len({panel.id for panel in all_panels()}) == len(all_panels())
    assert len({panel.place for panel in all_panels()}) == len(all_panels())


def test_each_page_has_its_panels_in_their_order():
    assert [panel.id for panel in panels_of(Page.DASHBOARD)] == [
        "doing",
        "attention",
        "tiles",
        "accuracy",
        "loss",
        "attendance",
        "timeline",
        "clients",
        "gpus",
        "updates",
        "checkpoints",
        "rounds",
        "settings",
    ]
    assert {panel.id for panel in panels_of(Page.REPORT)} - {p.id for p in panels_of(Page.DASHBOARD)} == {
        "model",
        "left-out",
    }


@pytest.mark.usefixtures("weather")
def test_a_new_module_is_all_that_a_new_panel_takes():
    state = reduce([])
    rendered = render(state, Safety(), BEGIN, "1")
    assert "sunny" in rendered.sections["weather"]
    for page in (live_page(rendered), render_report(state)):
        assert '<h2>Weather</h2><div id="weather"><p>sunny</p></div>' in page
        assert page.index('id="loss"') < page.index('id="weather"') < page.index('id="timeline"')


def test_every_id_is_in_the_page_once():
    page = live_page(render(reduce([]), Safety(), BEGIN, "1"))
    for panel in panels_of(Page.DASHBOARD):
        assert page.count(f'id="{panel.id}"') == 1


def test_no_two_landmarks_of_a_page_have_one_name():
    done = entry(
        "round_completed", round=1, rounds=2, valid=3, seconds=1.5, metrics=metrics(central={"loss": 1.0})
    )
    state = reduce([done])
    for page in (live_page(render(state, Safety(), BEGIN, "1")), render_report(state)):
        names = re.findall(r'<(?:section\b|div [^>]*role="region")[^>]*aria-label="([^"]*)"', page)
        assert "Rounds" in names
        assert len(names) == len(set(names))
