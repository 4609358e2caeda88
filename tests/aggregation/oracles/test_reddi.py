"""The adaptive optimizers beside algorithm 2 of Reddi et al. 2021, as docs/conformance.md has it."""

import re
from pathlib import Path

import numpy as np
import pytest

from . import optimizers
from .optimizers import ADAPTIVE, departure, papers, weights_of_a_tenth

PAGE = Path(__file__).parents[3] / "docs" / "conformance.md"


@pytest.mark.parametrize("name", ADAPTIVE)
def test_without_flowers_departures_nothing_is_left_of_the_difference(name):
    found = departure(name)
    assert found.remaining < 1e-12
    assert found.largest > 1e-4


def test_the_page_says_how_far_they_depart():
    table = PAGE.read_text(encoding="utf-8").partition("<!-- departures: begin -->")[2]
    said = dict(re.findall(r"^\| (Fed\w+) \| ([\d.]+) \|", table, re.MULTILINE))
    assert said == {name: f"{departure(name).largest:.2g}" for name in ADAPTIVE}


@pytest.mark.parametrize("name", ADAPTIVE)
def test_the_papers_first_v_hardly_matters_after_the_first_round_of_large_changes(name):
    start, rounds = weights_of_a_tenth()
    ours = optimizers.trained(name, start, [100 * rows for rows in rounds])
    paper = papers(name).models(start, [100 * rows for rows in rounds])
    if name != "FedAdam":  # whose learning rate differs
        np.testing.assert_allclose(ours[-1], paper[-1], rtol=0, atol=2e-2)
