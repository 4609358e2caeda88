"""Nothing is collected while Flower is imported; afterwards it is as it was."""

import gc

import pytest

from oneflower.flower.uncollected import uncollected


def test_nothing_is_collected_during_the_block_and_afterwards_it_is_again_also_after_an_error():
    seen = []
    with pytest.raises(ZeroDivisionError), uncollected():
        seen.append(gc.isenabled() or 1 / 0)
    assert not seen
    assert gc.isenabled()


def test_who_has_switched_collection_off_finds_it_off():
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
