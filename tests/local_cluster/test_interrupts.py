"""The first signal starts an orderly stop; later ones cannot interrupt the clean-up."""

import os
import signal
import subprocess
import sys

import pytest

from oneflower.local_cluster.interrupts import SIGNALS, Interrupts


@pytest.fixture(autouse=True)
def handlers():
    """The tests may run under `nohup`, which ignores SIGHUP."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_interrupts(number):
    with pytest.raises(KeyboardInterrupt), Interrupts():
        os.kill(os.getpid(), number)


def test_signals_during_the_clean_up_only_request_a_faster_end():
    with Interrupts() as interrupts:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            assert not interrupts.hurry()
            os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.hurry()


def test_after_stopping_nothing_interrupts():
    with Interrupts() as interrupts:
        interrupts.stopping()
        assert not interrupts.hurry()
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.hurry()


def test_the_previous_handlers_are_restored():
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interrupts():
        pass
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_the_parent_ignores_stays_ignored(number):
    """`nohup`, and a background job of a shell without job control."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), number)
            assert signal.getsignal(number) is signal.SIG_IGN
        assert interrupts.number is None
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_sighup_interrupts_only_while_a_terminal_is_open(monkeypatch):
    there = [True]
    monkeypatch.setattr(os, "isatty", lambda _descriptor: there[0])
    with Interrupts() as interrupts:
        there[0] = False
        os.kill(os.getpid(), signal.SIGHUP)
        there[0] = True
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGHUP)
    assert interrupts.number == signal.SIGHUP


def test_the_second_signal_ends_a_process_that_has_nothing_to_clean_up():
    code = (
        "import os, signal, time\n"
        "from oneflower.local_cluster.interrupts import Interrupts\n"
        "with Interrupts(at_once=True):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    except KeyboardInterrupt:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        time.sleep(600)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (130, "")
