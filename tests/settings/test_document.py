"""The page of variables is the table, and the copy in docs/ is current."""

from pathlib import Path

from oneflower.settings import TABLE
from oneflower.settings.document import variables_page

PAGE = Path(__file__).parents[2] / "docs" / "variables.md"


def test_the_checked_in_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == variables_page(), (
        "run: oneflower config docs --output docs/variables.md"
    )


def test_every_variable_has_one_row():
    page = variables_page()
    assert [page.count(f"[`{variable.name}`]") for variable in TABLE] == [1] * len(TABLE)


def test_every_row_has_an_anchor_of_the_variables_name():
    """Other pages and bookmarks lead to `variables.md#fl_strategy`: the anchor is the name."""
    rows = [line for line in variables_page().splitlines() if line.startswith("| <a ")]
    assert {row.split("`")[1] for row in rows} == {variable.name for variable in TABLE}
    for row in rows:
        name = row.split("`")[1]
        assert row.startswith(f'| <a id="{name.lower()}"></a>[`{name}`](#{name.lower()}) |')


def test_no_cell_breaks_its_row():
    rows = [line for line in variables_page().splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {9}


def test_what_the_short_form_asks_for_is_marked():
    marked = {line.split("`")[1] for line in variables_page().splitlines() if " * | " in line}
    assert marked == {variable.name for variable in TABLE if variable.in_form}
