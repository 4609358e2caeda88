"""`oneflower up` accepts every context file in examples/ without a warning."""

from pathlib import Path

import pytest

from oneflower.settings import read_context, resolve

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/*.sh"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_resolves_without_a_warning(path):
    resolution = resolve({}, read_context(path))
    assert resolution.settings.use_case in {app.name for app in (path.parents[2] / "apps").iterdir()}
    assert [notice.text for notice in resolution.notices if notice.level == "warning"] == []
