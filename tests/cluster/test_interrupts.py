"""The first signal stops in order; those that follow cannot break the clean-up off."""

import os
import signal

import pytest

from oneflower.cluster.interrupts import SIGNALS, Interrupts


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_interrupts(number):
    with pytest.raises(KeyboardInterrupt), Interrupts():
        os.kill(os.getpid(), number)


def test_signals_during_the_clean_up_only_ask_for_haste():
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


def test_the_handlers_before_are_put_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interrupts():
        pass
    assert [signal.getsignal(number) for number in SIGNALS] == before
