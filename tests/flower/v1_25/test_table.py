"""The page lists every workaround, every other use and every private name, as the modules declare them."""

from pathlib import Path

import pytest

from oneflower.flower.v1_25.table import filled, tables, uses
from oneflower.flower.v1_25.workarounds import WORKAROUNDS

PAGE = Path(__file__).parents[3] / "docs" / "flower-workarounds.md"


def test_the_page_is_up_to_date():
    page = PAGE.read_text(encoding="utf-8")
    assert page == filled(page), f"python -m oneflower.flower.v1_25.table {PAGE}"


def test_every_declaration_is_in_it():
    listed = tables()
    assert [known.name for known in WORKAROUNDS if f"| `{known.name}` |" not in listed["workarounds"]] == []
    assert [use.name for use in uses() if f"| `{use.name}` |" not in listed["other uses"]] == []
    for each in [*WORKAROUNDS, *uses()]:
        for module, names in each.sources.items():
            for name, digits in names.items():
                assert f"| `{module}:{name}` | `{digits}` |" in listed["private names"]


def test_a_page_without_a_place_for_a_table_is_refused():
    with pytest.raises(ValueError, match="generated: workarounds"):
        filled("# No place\n")
