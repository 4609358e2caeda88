"""The guards: a workaround is applied to the Flower that it was written for, and to no other."""

import time
from pathlib import Path

import pytest

from oneflower.errors import ClusterError
from oneflower.flower.v1_25.workarounds import WORKAROUNDS, Program, Workaround, apply, problems, registry

HERE = "oneflower.flower.v1_25.workarounds.registry"


def workaround(**changes):
    given = {
        "name": "made-up",
        "defect": "none",
        "programs": frozenset({Program.SUPERLINK}),
        "sources": {},
        "apply": lambda patch: patch(time, "made_up", True),
    }
    return Workaround(**{**given, **changes})


@pytest.mark.parametrize("known", WORKAROUNDS, ids=lambda known: known.name)
def test_every_workaround_fits_the_flower_that_is_installed(known):
    assert list(problems(known)) == []


def test_names_are_unique():
    names = [known.name for known in WORKAROUNDS]
    assert len(names) == len(set(names))


def test_every_workaround_is_documented():
    page = (Path(__file__).parents[4] / "docs" / "flower-workarounds.md").read_text(encoding="utf-8")
    assert [known.name for known in WORKAROUNDS if f"`{known.name}`" not in page] == []


def test_every_workaround_guards_what_it_changes():
    assert [known.name for known in WORKAROUNDS if not known.sources] == []


def test_another_version_of_flower_is_refused(monkeypatch):
    monkeypatch.setattr(registry, "package_version", "1.26.0")
    (text,) = problems(workaround())
    assert "1.26.0" in text
    assert "1.25.0" in text


def test_another_source_is_refused():
    (text,) = problems(workaround(sources={HERE: {"problems": "0" * 12}}))
    assert f"{HERE}:problems" in text
    assert "0" * 12 in text


def test_a_function_that_is_gone_is_refused():
    (text,) = problems(workaround(sources={HERE: {"no_such_function": "0" * 12}}))
    assert "no_such_function is not there" in text


def test_the_error_names_the_workaround_what_was_expected_and_the_switch():
    wrong = workaround(sources={HERE: {"problems": "0" * 12}})
    with pytest.raises(ClusterError, match="made-up") as caught:
        apply([wrong], Program.SUPERLINK)
    assert "expected 000000000000" in str(caught.value)
    assert "FL_FLOWER_WORKAROUNDS=NO" in str(caught.value)


def test_all_problems_are_told_at_once_and_nothing_is_applied():
    applied = []
    right = workaround(name="right", apply=applied.append)
    wrong = [workaround(name=name, sources={HERE: {"problems": name}}) for name in ("one", "two")]
    with pytest.raises(ClusterError, match=r"(?s)one.*two"):
        apply([right, *wrong], Program.SUPERLINK)
    assert applied == []


def test_only_the_programs_own_workarounds_are_applied():
    other = workaround(name="other", programs=frozenset({Program.SUPERNODE}))
    patched = []
    names = apply([workaround(), other], Program.SUPERLINK, lambda *change: patched.append(change))
    assert names == ["made-up"]
    assert patched == [(time, "made_up", True)]
