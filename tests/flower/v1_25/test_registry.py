"""Workarounds are applied in their declared order, to the Flower that they were written for, and no other."""

import itertools
import random
import time
from graphlib import CycleError

import pytest

from oneflower.errors import ClusterError
from oneflower.flower.private import problems
from oneflower.flower.v1_25.workarounds import (
    WORKAROUNDS,
    Program,
    Purpose,
    Workaround,
    apply,
    configured,
    ordered,
)

HERE = "oneflower.flower.v1_25.workarounds.registry"


def workaround(**changes):
    given = {
        "name": "made-up",
        "purpose": Purpose.SAFETY,
        "effect": "none",
        "cause": "none",
        "programs": frozenset({Program.SUPERLINK}),
        "sources": {},
        "apply": lambda patch: patch(time, "made_up", True),
    }
    return Workaround(**{**given, **changes})


def patched_by(known):
    """Return what a workaround replaces, as (owner, name); nothing is replaced."""
    found = []
    known.apply(lambda owner, name, _: found.append((owner, name)))
    return found


@pytest.mark.parametrize("known", WORKAROUNDS, ids=lambda known: known.name)
def test_every_workaround_fits_the_flower_that_is_installed(known):
    assert list(problems(known)) == []


def test_names_are_unique():
    names = [known.name for known in WORKAROUNDS]
    assert len(names) == len(set(names))


class TestOrder:
    def test_each_is_applied_after_those_that_it_names(self):
        first, second, third = (
            workaround(name="c"),
            workaround(name="b", after=("c",)),
            workaround(name="a", after=("b", "c")),
        )
        for given in itertools.permutations([first, second, third]):
            assert ordered(given) == [first, second, third]

    def test_the_order_of_the_list_does_not_matter(self):
        expected = ordered(WORKAROUNDS)
        shuffled = list(WORKAROUNDS)
        for seed in range(5):
            random.Random(seed).shuffle(shuffled)
            assert ordered(shuffled) == expected

    def test_two_that_are_after_each_other_are_refused(self):
        with pytest.raises(CycleError):
            ordered([workaround(name="a", after=("b",)), workaround(name="b", after=("a",))])

    def test_one_that_is_not_applied_is_waited_for_by_none(self):
        alone = workaround(name="a", after=("b",))
        assert ordered([alone]) == [alone]

    def test_every_name_in_after_exists(self):
        names = {known.name for known in WORKAROUNDS}
        assert [name for known in WORKAROUNDS for name in known.after if name not in names] == []

    @pytest.mark.parametrize("program", Program)
    def test_two_that_replace_the_same_thing_declare_which_comes_first(self, program):
        """The later one then lies around the earlier one, on purpose."""
        here = [known for known in WORKAROUNDS if program in known.programs]
        undeclared = [
            (one.name, two.name, name)
            for one, two in itertools.combinations(here, 2)
            for owner, name in set(patched_by(one)) & set(patched_by(two))
            if one.name not in two.after and two.name not in one.after
        ]
        assert undeclared == []


class TestPurposes:
    def test_speedups_are_left_out_where_they_are_not_wanted(self):
        quick = workaround(name="quick", purpose=Purpose.SPEED)
        given = [workaround(name="safe"), quick]
        assert apply(given, Program.SUPERLINK, lambda *_: None) == ["quick", "safe"]
        assert apply(given, Program.SUPERLINK, lambda *_: None, speedups=False) == ["safe"]

    def test_a_source_that_a_speedup_needs_does_not_matter_where_it_is_off(self):
        quick = workaround(purpose=Purpose.SPEED, sources={HERE: {"apply": "0" * 12}})
        assert apply([quick], Program.SUPERLINK, lambda *_: None, speedups=False) == []

    @pytest.mark.parametrize("program", Program)
    def test_every_program_has_its_safety_workarounds_without_speedups(self, program):
        names = apply(WORKAROUNDS, program, lambda *_: None, speedups=False)
        assert set(names) == {
            known.name
            for known in WORKAROUNDS
            if program in known.programs and known.purpose is Purpose.SAFETY
        }


class TestFingerprints:
    def test_another_source_is_refused(self):
        (text,) = problems(workaround(sources={HERE: {"apply": "0" * 12}}))
        assert f"{HERE}:apply" in text
        assert "0" * 12 in text

    def test_a_function_that_is_gone_is_refused(self):
        (text,) = problems(workaround(sources={HERE: {"no_such_function": "0" * 12}}))
        assert "no_such_function does not exist" in text

    def test_the_error_names_the_workaround_what_was_expected_and_the_switch(self):
        wrong = workaround(sources={HERE: {"apply": "0" * 12}})
        with pytest.raises(ClusterError, match="made-up") as caught:
            apply([wrong], Program.SUPERLINK)
        assert "expected 000000000000" in str(caught.value)
        assert "FL_FLOWER_WORKAROUNDS=NO" in str(caught.value)

    def test_all_problems_are_named_at_once_and_nothing_is_applied(self):
        applied = []
        right = workaround(name="right", apply=applied.append)
        wrong = [workaround(name=name, sources={HERE: {"apply": name}}) for name in ("one", "two")]
        with pytest.raises(ClusterError, match=r"(?s)one.*two"):
            apply([right, *wrong], Program.SUPERLINK)
        assert applied == []


def test_only_the_programs_own_workarounds_are_applied():
    other = workaround(name="other", programs=frozenset({Program.SUPERNODE}))
    patched = []
    names = apply([workaround(), other], Program.SUPERLINK, lambda *change: patched.append(change))
    assert names == ["made-up"]
    assert patched == [(time, "made_up", True)]


@pytest.mark.parametrize("known_keys", [True, False])
def test_a_process_has_all_workarounds_however_they_are_set(known_keys):
    found = configured(max_update_mb=3, known_keys=known_keys)
    assert [each.name for each in found] == [each.name for each in WORKAROUNDS]
    assert [each.after for each in found] == [each.after for each in WORKAROUNDS]
