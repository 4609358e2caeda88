"""The token of the dashboard is kept, and not taken from a file that others can have seen or written."""

import os
import stat

import pytest

from oneflower.local_cluster.dashboard_token import kept_token

OTHERS = "7f3a9c51e08b6d247f3a9c51e08b6d24"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "dashboard-token"


def test_it_is_the_same_the_next_time_and_another_one_in_another_folder(file, tmp_path):
    first = kept_token(file)
    assert kept_token(file) == first
    assert kept_token(tmp_path / "other") != first
    assert len(first) == 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_its_mode_does_not_depend_on_the_umask(file, umask):
    before = os.umask(umask)
    try:
        kept_token(file)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o602])
def test_one_that_others_could_read_or_write_is_replaced(file, mode):
    file.write_text(OTHERS)
    file.chmod(mode)
    assert kept_token(file) != OTHERS
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_link_that_somebody_laid_is_not_followed(file, tmp_path):
    target = tmp_path / "target"
    target.write_text(OTHERS)
    target.chmod(0o600)
    file.symlink_to(target)
    assert kept_token(file) != OTHERS
    assert target.read_text() == OTHERS, "nor written through"
    assert not file.is_symlink()


@pytest.mark.parametrize(
    "content", [b"", b"short", b"password" * 4, b"\xff" * 40, b"a b c d e f g h i j k l"]
)
def test_a_file_without_a_good_token_is_replaced(file, content):
    file.write_bytes(content)
    file.chmod(0o600)
    assert len(kept_token(file)) == 32
    assert len(file.read_text().strip()) == 32


def test_a_pipe_does_not_hold_it_up(file):
    os.mkfifo(file, 0o600)
    assert len(kept_token(file)) == 32


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_one_of_another_user_is_replaced(file):
    file.write_text(OTHERS)
    file.chmod(0o600)
    os.chown(file, 65534, 65534)
    assert kept_token(file) != OTHERS


def test_where_none_can_be_written_there_is_one_all_the_same(tmp_path):
    assert len(kept_token(tmp_path / "missing" / "dashboard-token")) == 32
