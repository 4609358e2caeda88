"""What a page counts or lists, it counts and lists as the code does."""

import json
import re

import numpy as np
import pytest

from oneflower.aggregation.optimizers import CLIENT_LR
from oneflower.aggregation.registry import SPECS, readers
from oneflower.checkpoints import Checkpoint, CheckpointStore, Signer

from .blocks import PAGES, ROOT

NUMBERS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
COUNTED = re.compile(
    rf"\b(?:all|oneflower's|the)\s+({'|'.join(NUMBERS)})\s+strategies|oneflower's\s+({'|'.join(NUMBERS)})\b",
    re.IGNORECASE,
)
# A decision is a record of its day.
TODAY = [page for page in PAGES if "decisions" not in page.parts]
SOURCES = [*TODAY, *sorted((ROOT / "src/oneflower/sdk").rglob("*.py"))]
# What says who sends a learning rate; a measurement under one strategy says nothing of the others.
SENDS_LR = re.compile(
    r"(only|except|but|with|;)\s+(FedAdagrad|FedAdam|FedYogi)\b(,?\s+(and|or)?\s*\w+)*", re.DOTALL
)


def names(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", TODAY, ids=names)
def test_the_strategies_are_counted_right(page):
    for found in COUNTED.finditer(page.read_text(encoding="utf-8")):
        number = 2 + NUMBERS.index((found[1] or found[2]).lower())
        assert number == len(SPECS), f"{found[0]!r}: there are {len(SPECS)} strategies"


def test_every_list_of_the_strategies_that_send_lr_is_whole():
    senders = {spec.name for spec in readers(CLIENT_LR)}
    told = [
        (names(page), found[0])
        for page in SOURCES
        for paragraph in re.split(r"\n\n|\n\|", page.read_text(encoding="utf-8"))
        if re.search(r"`lr`|\blr\b|FL_CLIENT_LR", paragraph)
        for found in SENDS_LR.finditer(paragraph)
    ]
    assert len(told) >= 5
    for where, text in told:
        assert senders == {name for name in senders if name in text}, f"{where}: {text!r}"


def test_the_table_of_the_manifest_has_every_field(tmp_path):
    """Of a signed one, which has them all."""
    signer = Signer(key="a3f1c9d27b604e85f1d2c3b4a5968778")
    with CheckpointStore(tmp_path, signer=signer) as store:
        store.save(
            Checkpoint(
                round=1,
                total_rounds=3,
                arrays={"w": np.ones(3, np.float32)},
                strategy="FedAvg",
                parameters={},
                app="a",
                seed=1,
            )
        )
    fields = json.loads((tmp_path / "checkpoint_round_1.json").read_text())
    page = (ROOT / "docs/checkpoints.md").read_text(encoding="utf-8")
    table = page.partition("The manifest contains:")[2].partition("\n\n")[2].partition("\n\n")[0]
    first_cells = " ".join(line.split("|")[1] for line in table.splitlines())
    assert set(re.findall(r"`(\w+)`", first_cells)) == fields.keys()
