"""Every check is made: one that fails, hangs or uses up the time hides no other."""

import threading
import time

from oneflower.errors import StateError
from oneflower.findings import ok
from oneflower.opennebula.doctor.run import CHECKS, Check, examine


def fine(host):
    yield ok("fine", "well")


def test_a_check_that_fails_does_not_stop_the_others(host_of):
    def raises(host):
        yield ok("half", "was seen before")
        raise KeyError("roles")

    def refuses(host):
        raise StateError("the disk is gone")

    found = examine(host_of(), [Check("half", raises), Check("refuses", refuses), Check("fine", fine)])
    assert [(each.check, each.outcome.value) for each in found] == [
        ("half", "ok"),
        ("half", "problem"),
        ("refuses", "problem"),
        ("fine", "ok"),
    ]
    assert "KeyError" in found[1].found
    assert "the disk is gone" in found[2].found


def test_a_check_that_hangs_is_left_behind(host_of):
    """A dead share holds a system call for ever."""
    release = threading.Event()

    def hangs(host):
        release.wait(30)
        yield ok("hangs", "too late")

    found = examine(host_of(), [Check("hangs", hangs, 0.1, "mount it anew"), Check("fine", fine)])
    release.set()
    assert [(each.outcome.value, each.fix) for each in found] == [("problem", "mount it anew"), ("ok", "")]


def test_the_whole_has_an_end(host_of):
    release = threading.Event()
    checks = [Check(f"hangs-{number}", lambda host: release.wait(30) and []) for number in range(9)]
    began = time.monotonic()
    found = examine(host_of(), [*checks, Check("fine", fine)], budget_s=0.3)
    release.set()
    assert time.monotonic() - began < 10
    assert (found[-1].check, found[-1].outcome.value) == ("fine", "skipped")


def test_a_machine_with_nothing_on_it_is_examined(host_of, programs):
    """Before any stage ran, with no context: every check ends by itself."""
    programs.units = {}
    found = examine(host_of(kept=False))
    assert {check.name for check in CHECKS} - {"units", "gpu"} <= {each.check for each in found}
    assert not [each for each in found if "the check failed" in each.found]
    assert [each.check for each in found if each.outcome == "problem"][:3] == ["context", "token", "stages"]
