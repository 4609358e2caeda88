"""FL_RESUME=N: a training goes back to the checkpoint of a round that is kept, and trains on from there."""

import pytest

from oneflower.checkpoints import CheckpointReader, model_digest
from oneflower.errors import CheckpointError
from oneflower.flower.records import array_views

from ..federation import Federation


@pytest.fixture
def federation(tmp_path):
    return Federation(folder=tmp_path / "checkpoints", settings={"checkpoint-keep": 0})


def test_later_rounds_are_set_aside_and_trained_again(federation, caplog):
    whole = federation.train()
    before = {path.name for path in federation.folder.iterdir()}
    again = federation.train(resume="2")
    assert model_digest(array_views(again.arrays)) == model_digest(array_views(whole.arrays))
    assert "later checkpoints set aside rounds=3,4" in caplog.text
    after = {path.name for path in federation.folder.iterdir()}
    assert len([name for name in after - before if ".rolledback" in name]) >= 2
    assert CheckpointReader(federation.folder).rounds() == (1, 2, 3, 4)


def test_a_round_that_is_not_kept_is_refused_with_those_that_are(federation):
    federation.train()
    with pytest.raises(CheckpointError, match=r"FL_RESUME is 9.*kept: 1, 2, 3, 4.*auto"):
        federation.train(resume="9")
    assert CheckpointReader(federation.folder).rounds() == (1, 2, 3, 4)


def test_an_empty_folder_has_none(federation):
    with pytest.raises(CheckpointError, match="kept: none"):
        federation.train(resume="1")
