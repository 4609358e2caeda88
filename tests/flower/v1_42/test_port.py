"""What Flower 1.42.0 does otherwise than 1.25.0, and what the port makes of it."""

import pytest
from flwr.app import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from oneflower.flower.door import port
from oneflower.lab.localgrid import LocalGrid

from ...federation import numpy_app


@pytest.fixture
def nobody(monkeypatch):
    """A process that is no task."""
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, None)


def test_a_process_that_is_no_task_creates_no_messages(nobody):
    with pytest.raises(RuntimeError, match="is not set"):
        Message(RecordDict(), 1, "train")


def test_a_local_grid_makes_its_process_one(nobody):
    LocalGrid(numpy_app(), clients=1, run_config={})
    assert Message(RecordDict(), 1, "train").metadata.src_node_id == 1


def test_an_app_is_loaded_from_its_own_folder_although_an_earlier_one_had_the_same_modules(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "sameapp.py").write_text(f"app = {name!r}\n")
    loaded = [port.load_app("sameapp:app", ValueError, str(tmp_path / name)) for name in ("one", "two")]
    assert loaded == ["one", "two"]
