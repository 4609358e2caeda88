"""The tables and the picture of docs/robustness.md, from the results of `robustness.py`."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Final

from robustness_attacks import ATTACKS, REMOVED, TRIGGERED
from robustness_cells import RULES, SPLITS, Cell

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
PAGE, PICTURE = DOCS / "robustness.md", DOCS / "robustness.svg"
CEILING: Final = "FedAvg"
"""The rule of the honest clients alone, which no rule under attack can be expected to beat."""

Values = Mapping[tuple[str, str, str], Mapping[int, float]]
"""What each seed gave, by (split, rule, attack)."""


def by_cell(cells: Iterable[Cell], field: str = "accuracy") -> Values:
    """Return one number of every training, by cell of the matrix."""
    found = defaultdict[tuple[str, str, str], dict[int, float]](dict)
    for cell in cells:
        found[cell.split, cell.rule, cell.attack][cell.seed] = getattr(cell, field)
    return found


def in_order(cells: Iterable[Cell]) -> list[str]:
    """Return the rules that have results, in the order of the registry."""
    there = {cell.rule for cell in cells if cell.attack != REMOVED}
    return [rule for rule in RULES if rule in there]


def shown(by_seed: Mapping[int, float]) -> str:
    """Return the mean and, of several seeds, the range; "ended" where a training gave no model."""
    values = list(by_seed.values())
    if not values:
        return ""
    if any(map(math.isnan, values)):
        return "ended"
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{mean(values):.1f} ({min(values):.0f}-{max(values):.0f})"


def table(cells: Sequence[Cell], split: str) -> str:
    """Return one split's accuracies: a row for each rule, a column for each attack."""
    found = by_cell(cells)
    attacks = [attack for attack in ATTACKS if any(cell.attack == attack for cell in cells)]
    ceiling = shown(found.get((split, CEILING, REMOVED), {}))
    lines = ["| | " + " | ".join(attacks) + " |", "|---" * (len(attacks) + 1) + "|"]
    lines.append(f"| *{REMOVED}* | {ceiling} " + "| " * (len(attacks) - 1) + "|")
    for rule in in_order(cells):
        row = [shown(found.get((split, rule, attack), {})) for attack in attacks]
        lines.append(f"| **{rule}** | " + " | ".join(row) + " |")
    return "\n".join(lines)


def losses(cells: Sequence[Cell]) -> dict[str, dict[str, float]]:
    """Return, for each rule and split, the points that its worst attack costs against the ceiling.

    Means over the seeds that both have, without the attack "none"; 100 where a training gave no model.
    """
    found, result = by_cell(cells), dict[str, dict[str, float]]()
    for rule in in_order(cells):
        for split in SPLITS:
            ceiling = found.get((split, CEILING, REMOVED), {})
            lost = [
                points_lost(ceiling, by_seed)
                for (where, which, attack), by_seed in found.items()
                if (where, which) == (split, rule)
                and attack not in {"none", REMOVED}
                and ceiling.keys() & by_seed.keys()
            ]
            if lost:
                result.setdefault(rule, {})[split] = round(max(lost), 2)
    return result


def points_lost(best: Mapping[int, float], by_seed: Mapping[int, float]) -> float:
    """Return the mean difference over the seeds that both have; all of it where a training ended."""
    seeds = best.keys() & by_seed.keys()
    found = mean(best[seed] - by_seed[seed] for seed in seeds)
    return 100.0 if math.isnan(found) else found


def most_lost(found: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return the losses, the most robust rule first."""
    return dict(sorted(found.items(), key=lambda item: max(item[1].values())))


def summary(cells: Sequence[Cell]) -> str:
    """Return the worst case of every rule: what its worst attack costs, and what the rule costs without."""
    found = by_cell(cells)
    lines = ["| | " + " | ".join(f"{s}: worst attack | {s}: none" for s in SPLITS) + " |"]
    lines.append("|---" * (2 * len(SPLITS) + 1) + "|")
    for rule, worst in most_lost(losses(cells)).items():
        row = []
        for split in SPLITS:
            calm, best = (found.get((split, each, "none"), {}) for each in (rule, "FedAvg"))
            row.append(f"{-worst[split]:+.1f}" if split in worst else "")
            row.append(f"{-points_lost(best, calm):+.1f}" if best.keys() & calm.keys() else "")
        lines.append(f"| **{rule}** | " + " | ".join(row) + " |")
    return "\n".join(lines)


def minority_table(cells: Sequence[Cell]) -> str:
    """Return what the worst-served honest client gets without any attack, by split."""
    found = by_cell([cell for cell in cells if cell.attack == "none"], "worst_client")
    lines = ["| | " + " | ".join(SPLITS) + " |", "|---" * (len(SPLITS) + 1) + "|"]
    for rule in in_order(cells):
        row = [shown(found.get((split, rule, "none"), {})) for split in SPLITS]
        lines.append(f"| **{rule}** | " + " | ".join(row) + " |")
    return "\n".join(lines)


def backdoor_table(cells: Sequence[Cell]) -> str:
    """Return how often the trigger works, by split; first, what it does where nobody has learned it."""
    attack = next(iter(TRIGGERED))
    found = by_cell(cells, "success")
    lines = ["| | " + " | ".join(SPLITS) + " |", "|---" * (len(SPLITS) + 1) + "|"]
    nobody = [shown(found.get((split, CEILING, REMOVED), {})) for split in SPLITS]
    lines.append(f"| *{REMOVED}* | " + " | ".join(nobody) + " |")
    for rule in in_order(cells):
        row = [shown(found.get((split, rule, attack), {})) for split in SPLITS]
        lines.append(f"| **{rule}** | " + " | ".join(row) + " |")
    return "\n".join(lines)


def picture(cells: Sequence[Cell]) -> str:
    """Return the matrix as an SVG heat map: a panel for each split, the mean accuracy in every cell."""
    width, height, left, top = 76, 28, 120, 84
    rules, attacks, found = in_order(cells), list(ATTACKS), by_cell(cells)
    panel = top + height * len(rules) + 24
    size = f"{left + width * len(attacks) + 10} {panel * len(SPLITS)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img"',
        'font-family="system-ui, sans-serif" font-size="12" aria-label="Accuracy under attack">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for number, split in enumerate(SPLITS):
        y0 = number * panel
        ceiling = shown(found.get((split, CEILING, REMOVED), {}))
        title = f"{split}; {REMOVED}: {ceiling}" if ceiling else split
        parts.append(f'<text x="8" y="{y0 + 24}" font-size="15" font-weight="600">{title}</text>')
        for column, attack in enumerate(attacks):
            x = left + width * column + width / 2
            parts.append(
                f'<text x="{x}" y="{y0 + top - 10}" text-anchor="middle" font-size="11">{attack}</text>'
            )
        for row, rule in enumerate(rules):
            y = y0 + top + height * row
            parts.append(f'<text x="{left - 8}" y="{y + 19}" text-anchor="end">{rule}</text>')
            for column, attack in enumerate(attacks):
                values = found.get((split, rule, attack))
                if values:
                    parts.append(heat(left + width * column, y, width - 2, height - 2, mean(values.values())))
    return "\n".join([*parts, "</svg>"]) + "\n"


def heat(x: float, y: float, width: float, height: float, value: float) -> str:
    """Return one cell: dark blue is accurate, pale is not, grey ended."""
    share = 0.0 if math.isnan(value) else max(0.0, min(1.0, value / 100)) ** 3
    red, green, blue = (round(244 + share * (end - 244)) for end in (23, 79, 140))
    ink = "#fff" if share > 0.5 else "#222"
    text = "ended" if math.isnan(value) else f"{value:.1f}"
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="3" fill="rgb({red},{green},{blue})"/>'
        f'<text x="{x + width / 2}" y="{y + height / 2 + 4}" text-anchor="middle" fill="{ink}">{text}</text>'
    )


def put_between(page: str, name: str, text: str) -> str:
    """Replace what stands between the two marks of a section of the page."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = page.split(begin)
    return f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}"


def write_page(cells: Sequence[Cell], *, expected: int) -> None:
    """Write the tables into the page, and the picture beside it."""
    page = PAGE.read_text(encoding="utf-8")
    extent = f"{len(cells):,} of {expected:,} trainings have been run."
    for name, text in {
        "extent": extent,
        "summary": summary(cells),
        **{f"attacks {split}": table(cells, split) for split in SPLITS},
        "backdoor": backdoor_table(cells),
        "minority": minority_table(cells),
    }.items():
        page = put_between(page, name, text)
    PAGE.write_text(page, encoding="utf-8")
    PICTURE.write_text(picture(cells), encoding="utf-8")
