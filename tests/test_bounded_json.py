"""JSON is counted before it is parsed: what someone else wrote takes no memory beyond its bounds."""

import json
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.bounded_json import Bounds, parse_json

FEW = Bounds(most_bytes=10_000, most_values=50, most_depth=5)


def depth_and_values(value):
    """Return how deep a value is nested, and how many commas and brackets it takes at most."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    if inner is None:
        return 0, 0
    found = [depth_and_values(each) for each in inner]
    return 1 + max((deep for deep, _ in found), default=0), (
        1 + max(0, len(inner) - 1) + sum(count for _, count in found)
    )


TEXTS = st.text(st.sampled_from('[]{},"\\:ab\u00e9\u2222\u5b5d'), max_size=8)
VALUES = st.recursive(
    st.none() | st.integers(-9, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(TEXTS, inner, max_size=9),
    max_leaves=60,
)


@given(value=VALUES, as_text=st.booleans(), ascii_only=st.booleans())
def test_it_is_read_exactly_if_it_is_within_its_bounds_whatever_its_texts_hold(value, as_text, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    deep, count = depth_and_values(value)
    given_as = text if as_text else text.encode()
    if deep <= FEW.most_depth and count <= FEW.most_values:
        assert parse_json(given_as, FEW) == value
    else:
        with pytest.raises(ValueError, match=r"at most 50 are read|more than 50 values|more than 5 deep"):
            parse_json(given_as, FEW)


@pytest.mark.parametrize(
    "data",
    [
        b"[" + b"[]," * 9_000_000 + b"1]",
        b"[" + b'{"":0},' * 4_000_000 + b"1]",
        b"[" + b'"",' * 9_000_000 + b"1]",
        b"[" + b'"[",' * 6_000_000 + b"1]",
        b'"' + b'\\"' * 9_000_000,
        b"[" * 9_000_000,
        b"[" * 1000 + b"]" * 1000,
        b'["]",' * 1000 + b'["[" ' + b'],"["' * 1000 + b"]",
        ("[" + "[]," * 1_000_000 + "1]").encode("utf-16"),
        b" " * (17 << 20),
    ],
    ids=[
        "lists",
        "objects",
        "texts",
        "brackets in texts",
        "quotes",
        "open",
        "deep",
        "deep in disguise",
        "16",
        "bytes",
    ],
)
def test_a_bomb_takes_no_memory(data):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for bounds in (Bounds(), Bounds(most_bytes=1 << 30)):
        with pytest.raises(ValueError, match=r".+"):
            parse_json(data, bounds)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@pytest.mark.parametrize("data", ["", "[", '{"a"', "\ud800", b"\xff\xfe[\0]\0", b"\xed\xa0\x80", "9" * 5000])
def test_what_is_no_json_is_a_value_error(data):
    with pytest.raises(ValueError, match=r".+"):
        parse_json(data)
