"""Who may read a checkpoint: its user, and the group of a folder that was set up to be shared."""

import os
import stat

import pytest

from oneflower.checkpoints.files import OsFiles


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
