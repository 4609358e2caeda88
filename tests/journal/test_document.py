"""The page of the journal lists every event, field and code as the code declares them."""

from pathlib import Path

from oneflower.journal.document import BEGIN, END, page_with_tables

PAGE = Path(__file__).parents[2] / "docs" / "journal.md"


def test_the_page_is_as_its_command_writes_it():
    """Otherwise run: python -m oneflower.journal.document docs/journal.md."""
    page = PAGE.read_text(encoding="utf-8")
    assert page_with_tables(page) == page


def test_what_is_around_the_generated_part_stays():
    made = page_with_tables(f"before\n{BEGIN}\noutdated\n{END}\nafter\n")
    assert made.startswith("before\n")
    assert made.endswith("\nafter\n")
    assert "| `round_started` | `round`, `rounds`, `clients`, `asked` |" in made
    assert "outdated" not in made
