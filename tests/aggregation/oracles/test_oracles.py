"""Each rule beside code that is not ours, on the first inputs of `python benchmarks/oracles.py`."""

import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

if find_spec("byzfl") is None:
    pytest.skip("byzfl is not installed: `make check` installs it (decision 242)", allow_module_level=True)

from oneflower.aggregation import SPECS

from . import arbiter
from .comparisons import ALL, UNEXPLAINED, Comparison
from .inputs import ATTACKS, HONEST, draw

pytestmark = [pytest.mark.deployed, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
PAGE = Path(__file__).parents[3] / "docs" / "conformance.md"
INPUTS = range(12)
every = pytest.mark.parametrize(
    "comparison",
    ALL,
    ids=lambda each: f"{each.rule}-{each.oracle}-{'adapted' if each.adapted else 'as it is'}",
)
WITHOUT = {"FedProx", "FLTrust"}
"""FedProx aggregates by FedAvg's rule; no oracle has FLTrust."""


@every
def test_each_difference_from_an_oracle_has_its_reason(comparison: Comparison):
    reasons = {number: comparison.of_input(number) for number in INPUTS}
    assert UNEXPLAINED not in reasons.values(), reasons


def test_a_wrong_rule_would_be_found():
    median, mean = (next(each for each in ALL if each.rule == rule) for rule in ("FedMedian", "FedAvg"))
    wrong = replace(median, ours=mean.ours).count(INPUTS)
    assert wrong.unexplained == wrong.differing > len(INPUTS) // 2


def test_every_rule_has_an_oracle():
    assert {rule for each in ALL for rule in each.rule.split(", ")} - {"NNM", "bucketing"} == {
        spec.name for spec in SPECS
    } - WITHOUT


def test_the_page_has_a_row_for_each_comparison_and_no_difference_without_a_reason():
    page = PAGE.read_text(encoding="utf-8")
    table = page.partition("<!-- conformance: begin -->")[2].partition("<!-- conformance: end -->")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.strip().splitlines()[2:]]
    assert [row[:3] for row in rows] == [[each.rule, each.oracle, each.adapted] for each in ALL]
    for rule, oracle, _, comparisons, equal, differing, why in rows:
        assert int(comparisons) >= 500, (rule, oracle)
        assert int(equal) + int(differing) == int(comparisons)
        assert sum(map(int, re.findall(r"(\d+) x ", why))) == int(differing), (rule, oracle)
        assert UNEXPLAINED not in why


def test_inputs_follow_from_their_number_and_are_of_every_kind():
    drawn = [draw(number, lambda count: (count - 1) // 2) for number in range(300)]
    for first, again in zip(
        drawn, (draw(n, lambda count: (count - 1) // 2) for n in range(300)), strict=True
    ):
        assert first.rows.tobytes() == again.rows.tobytes()
    assert {len(sent.rows) for sent in drawn} == set(range(3, 26))
    assert {1, 1000} <= {*(min(sent.model.size, 1) for sent in drawn), 1000}
    assert max(sent.model.size for sent in drawn) > 900
    assert {sent.rows.dtype for sent in drawn} == {np.dtype(np.float32), np.dtype(np.float64)}
    assert max(np.abs(sent.rows).max() for sent in drawn) > 1e38
    assert len(HONEST) * len(ATTACKS) == 56


def test_the_arbiter_is_exact_far_away_and_near_by():
    rows = np.array([[1e30, 1.0], [0.0, 1.0], [1e-9, 1.0]])
    assert float(arbiter.squared_distances(rows)[1, 2]) == pytest.approx(1e-18, rel=1e-15)
    nearer = arbiter.further(rows, np.array([0.0, 1.0]), np.array([1e-9, 1.0]))
    assert nearer == pytest.approx(1e-9, rel=1e-12)  # the far row, and nothing of the other two
