"""The token of the dashboard is another one at each start, and its file is for its user alone."""

import os
import stat

import pytest

from oneflower.local_cluster.dashboard_token import new_token

OTHERS = "7f3a9c51e08b6d247f3a9c51e08b6d24"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "dashboard-token"


def test_each_start_has_a_new_one(file):
    """Who listened on the port meanwhile may have been sent the one of before."""
    first = new_token(file)
    assert len(first) == 32
    assert new_token(file) != first != file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_its_mode_does_not_depend_on_the_umask(file, umask):
    before = os.umask(umask)
    try:
        new_token(file)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640, 0o660, 0o602])
def test_a_file_that_is_there_is_replaced(file, mode):
    file.write_text(OTHERS)
    file.chmod(mode)
    with file.open() as held:
        assert new_token(file) == file.read_text().strip() != OTHERS
        assert held.read() == OTHERS, "whoever has the old file open reads nothing new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_link_that_somebody_laid_is_not_followed(file, tmp_path):
    target = tmp_path / "target"
    target.write_text(OTHERS)
    target.chmod(0o600)
    file.symlink_to(target)
    assert new_token(file) != OTHERS
    assert target.read_text() == OTHERS, "nor written through"
    assert not file.is_symlink()


def test_a_pipe_does_not_hold_it_up(file):
    os.mkfifo(file, 0o600)
    assert new_token(file) == file.read_text().strip()


def test_where_none_can_be_written_there_is_one_all_the_same(tmp_path):
    assert len(new_token(tmp_path / "missing" / "dashboard-token")) == 32
