"""Each of our rules beside ByzFL's and Flower's own: how often they agree, and why where they do not.

``python benchmarks/oracles.py [--inputs N] [--only WORD] [--page]``

Inputs are random and adversarial: ``tests/aggregation/oracles/inputs.py``. Prints a table, what the adaptive
optimizers depart from their paper by, and a line of JSON; ends with 1 where a difference has no reason.
``--page`` writes the tables into docs/conformance.md.
"""

import argparse
import json
import logging
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.aggregation.oracles.comparisons import ALL, Count
from tests.aggregation.oracles.optimizers import ADAPTIVE, Departure, departure

PAGE = Path(__file__).parents[1] / "docs" / "conformance.md"
HEAD = ("FL_STRATEGY", "oracle", "adapted", "comparisons", "equal", "differing", "why")
DEPARTURES = ("FL_STRATEGY", "largest difference of a weight", "with the departures in the paper's algorithm")


def row(cells: list[str]) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def table(head: tuple[str, ...], rows: list[str]) -> str:
    """Return a Markdown table."""
    return "\n".join([row(list(head)), "|" + "---|" * len(head), *rows])


def of_count(count: Count) -> str:
    """Return the row of one comparison."""
    each = count.comparison
    why = "; ".join(f"{number} x {reason}" for reason, number in count.reasons.items())
    numbers = (count.comparisons, count.equal, count.differing)
    return row([each.rule, each.oracle, each.adapted, *map(str, numbers), why])


def of_departure(found: Departure) -> str:
    """Return the row of one optimizer."""
    return row([found.name, f"{found.largest:.2g}", f"{found.remaining:.0e}"])


def written(page: str, name: str, text: str) -> str:
    """Return the page with this text between its marks."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = page.split(begin)
    return f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}"


def merged(page: str, counts: list[Count]) -> str:
    """Return the page with these rows in place of its own; it keeps those of other comparisons."""
    begin, end = "<!-- conformance: begin -->\n", "\n<!-- conformance: end -->"
    kept = {key_of(line): line for line in page.partition(begin)[2].partition(end)[0].splitlines()[2:]}
    kept |= {key_of(line): line for line in map(of_count, counts)}
    rows = [kept[key] for key in (key_of(row([e.rule, e.oracle, e.adapted])) for e in ALL) if key in kept]
    return written(page, "conformance", table(HEAD, rows))


def key_of(line: str) -> tuple[str, ...]:
    """Return rule, oracle and adaptation of a row."""
    return tuple(cell.strip() for cell in line.split("|")[1:4])


def main() -> int:
    """Compare, and print a row a comparison as soon as it is there."""
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=500, help="inputs of each comparison")
    parser.add_argument("--only", default="", help="comparisons with this word in a name")
    parser.add_argument(
        "--page", action="store_true", help="write what was compared into docs/conformance.md"
    )
    given = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)
    begun, counts = time.monotonic(), []
    print(table(HEAD, []), flush=True)
    for each in ALL:
        if given.only.lower() in f"{each.rule} {each.oracle}".lower():
            counts.append(each.count(range(given.inputs)))
            print(of_count(counts[-1]), flush=True)
    departures = [departure(name) for name in ADAPTIVE]
    print("\n" + table(DEPARTURES, [of_departure(each) for each in departures]))
    if given.page:
        page = merged(PAGE.read_text(encoding="utf-8"), counts)
        page = written(page, "departures", table(DEPARTURES, [of_departure(each) for each in departures]))
        PAGE.write_text(page, encoding="utf-8")
    unexplained = sum(count.unexplained for count in counts)
    totals = {
        name: sum(getattr(count, name) for count in counts) for name in ("comparisons", "equal", "differing")
    }
    print(
        json.dumps(
            {
                **totals,
                "unexplained": unexplained,
                "departures": {each.name: each.largest for each in departures},
                "seconds": round(time.monotonic() - begun),
            }
        )
    )
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
