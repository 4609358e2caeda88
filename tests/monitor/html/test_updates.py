"""The picture of the updates: colours by distance, a mark where one was not used, and words for all."""

import math
import re

from oneflower.journal import reduce
from oneflower.monitor.html.page import render
from oneflower.monitor.html.panels.updates import MOST_SHOWN, updates
from oneflower.monitor.state.safety import Safety

from ...making import BEGIN, entry, measured_rounds

USUAL = {"a": 1.0, "b": 1.0, "c": 1.2, "d": 1.8}


def shown(distances, **fields):
    begun = entry("training_started", rounds=50)
    return updates(reduce([begun, *measured_rounds(distances, **fields)]))


def cells(html):
    """Return for each client what its strip says."""
    names = re.findall(r'<th scope="row"[^>]*>.*?<code>(.*?)</code>', html)
    return dict(zip(names, re.findall(r'aria-label="(Rounds .*?)"', html), strict=True))


def test_before_the_first_update_it_says_so():
    assert "No update has been measured yet" in updates(reduce([]))


def test_a_far_client_comes_first_and_is_named_in_words_and_colour():
    html = shown({**USUAL, "evil": 9.0})
    assert "1 client is far from the model in most of the last 10 rounds." in html
    assert list(cells(html)) == ["evil", "d", "c", "a", "b"]
    assert cells(html)["evil"] == "Rounds 1 to 5: 5 5 and more"
    assert cells(html)["a"] == "Rounds 1 to 5: 5 below 1.5 medians"
    assert html.count("◆") == 1
    assert "◆ 5 of 5" in html


def test_a_usual_training_has_no_sign():
    html = shown(USUAL, weights=(0.25,) * 4, changes=(1.0,) * 4, selected=(1,) * 4)
    assert "No client stands out." in html
    assert "◆" not in html
    assert "not used" not in html
    assert "25 %" in html


def test_what_a_rule_never_used_is_marked():
    html = shown(USUAL, rounds=12, selected=(1, 1, 1, 0))
    assert "1 client was not used by the rule in the last 10 rounds." in html
    assert cells(html)["d"] == "Rounds 1 to 12: 12 1.5 to 2.5, 12 not used by the rule"
    assert "◆ 12 of 12" in html


def test_a_distance_that_is_too_large_is_said_in_words():
    assert "too large" in shown({**USUAL, "evil": math.nan})


def test_of_a_thousand_clients_a_few_are_shown_and_the_page_stays_small():
    many = {f"node-{i}": 1 + i / 1000 for i in range(1000)}
    html = shown({**many, "evil": 50.0}, rounds=50)
    assert f"Shown are the {MOST_SHOWN} farthest of 1001." in html
    assert len(cells(html)) == MOST_SHOWN
    assert next(iter(cells(html))) == "evil"
    assert len(html) < 40_000


def test_old_rounds_are_left_out_and_gaps_stay_gaps():
    state = reduce([entry("training_started", rounds=90), *measured_rounds(USUAL, rounds=60)])
    assert "Rounds 21 to 60" in updates(state)
    del state.roster["a"].measured[30]
    assert cells(updates(state))["a"].startswith("Rounds 21 to 60: 39 ")


def test_names_of_clients_never_become_markup():
    assert "<img" not in shown({**USUAL, "<img src=x>": 9.0})


def test_the_live_page_has_it():
    state = reduce([entry("training_started", rounds=5), *measured_rounds(USUAL)])
    assert "No client stands out." in render(state, Safety(), BEGIN, "1").sections["updates"]
