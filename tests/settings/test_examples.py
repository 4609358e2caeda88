"""The examples of the strategies are generated, complete and sensible."""

from pathlib import Path

import pytest

from oneflower.aggregation import SPECS
from oneflower.settings import parse_context, resolve
from oneflower.settings.examples import example_contexts

FOLDER = Path(__file__).parents[2] / "examples" / "strategies"


def test_the_checked_in_examples_are_current():
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert found == example_contexts(), "run: oneflower config examples"


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_an_example_raises_no_notice_and_says_how_many_nodes_it_needs(spec):
    text = example_contexts()[f"{spec.name.lower()}.sh"]
    resolution = resolve({}, parse_context(text))
    assert resolution.notices == ()
    assert resolution.settings.strategy == spec.name
    assert f"--nodes {resolution.settings.min_available_clients}\n" in text
