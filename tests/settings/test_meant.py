"""What is suggested for a refused value is what the operator meant, and is accepted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.settings import TABLE
from oneflower.settings.meant import meant
from oneflower.settings.values import Boolean, Choice, Decimal, Integer

SHARE = Decimal(maximum=1.0, above_minimum=True)
WEIGHT = Decimal()
SECONDS = Integer(minimum=1, maximum=3600, unit="seconds")
RULES = Choice(("FedAvg", "TrimmedMean", "MultiKrum", "Krum"))


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (SHARE, "80%", "0.8"),
        (SHARE, "12.5 %", "0.125"),
        (SHARE, "0,5", "0.5"),
        (SHARE, "7", None),
        (WEIGHT, "3,600", None),
        (WEIGHT, "3,5", "3.5"),
        (WEIGHT, "0%", None),
        (SHARE, "80,5%", None),
        (SECONDS, "1e3", "1000"),
        (SECONDS, "1,000", "1000"),
        (SECONDS, "1_000", "1000"),
        (SECONDS, "30s", "30"),
        (SECONDS, "30 seconds", "30"),
        (SECONDS, "30 rounds", None),
        (SECONDS, "2.5", None),
        (SECONDS, "1e9", None),
        (SECONDS, "1e99", None),
        (Boolean(), "on", "YES"),
        (Boolean(), "Disabled", "NO"),
        (Boolean(), "maybe", None),
        (RULES, "FEDAVG", "FedAvg"),
        (RULES, "trimmed-mean", "TrimmedMean"),
        (RULES, "multi krum", "MultiKrum"),
        (RULES, "FedAvgg", "FedAvg"),
        (RULES, "median", None),
        (RULES, "QFedAvg", None),
        (RULES, "FedAvg-DP", None),
        (RULES, "TrimedMean", "TrimmedMean"),
        (Choice(("auto", "NO", "YES")), "now", None),
        (RULES, "", None),
    ],
)
def test_what_was_meant(kind, text, expected):
    assert meant(kind, text) == expected


@given(st.sampled_from(TABLE), st.text() | st.from_regex(r"[-+]?[0-9]{0,25}[.,eE_ ][0-9]{0,25}[%s]?"))
def test_whatever_is_suggested_is_accepted(row, text):
    """And nothing that is written stops the report."""
    suggested = meant(row.kind, text)
    if suggested is not None:
        row.kind.parse(suggested)
