"""Who may read a checkpoint: its user, and the group of a folder that was set up to be shared."""

import os
import stat

import pytest

from oneflower.checkpoints import CheckpointStore
from oneflower.checkpoints.files import OsFiles

from .conftest import make


@pytest.mark.parametrize(
    ("folder", "file"), [(0o700, 0o600), (0o755, 0o600), (0o2750, 0o640), (0o2777, 0o640)]
)
def test_a_file_is_for_its_user_and_the_group_of_a_shared_folder(tmp_path, folder, file):
    before = os.umask(0o077)
    try:
        tmp_path.chmod(folder)
        for create in (OsFiles().create, OsFiles().append):
            path = tmp_path / create.__name__
            os.close(create(path))
            assert stat.S_IMODE(path.stat().st_mode) == file
    finally:
        os.umask(before)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == folder, "its operator made it"


@pytest.mark.parametrize(("folder", "mode"), [(0o755, 0o600), (0o2750, 0o640)])
def test_what_an_earlier_release_left_open_is_closed_when_the_folder_is_opened(tmp_path, folder, mode):
    root = tmp_path / "checkpoints"
    with CheckpointStore(root) as store:
        store.save(make(1))
    root.chmod(folder)
    (root / "notes.txt").write_text("the operator's own")
    files = [path for path in root.iterdir() if not path.is_symlink()]
    for path in files:
        path.chmod(0o644)
    with CheckpointStore(root):
        pass
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in files} == {
        path.name: 0o644 if path.name == "notes.txt" else mode for path in files
    }
