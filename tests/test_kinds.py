"""One table says what is final, what passes by itself, and what is the app's."""

import errno
import sqlite3

import pytest

from oneflower import errors
from oneflower.errors import (
    AppError,
    CheckpointError,
    ClusterError,
    FolderLockedError,
    OneflowerError,
    SettingsError,
    StateError,
    TrainingError,
)
from oneflower.files import state_errors
from oneflower.kinds import KINDS, ErrorKind, kind_named, kind_of, may_pass

PASSING = ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EIO", "ESTALE", "EMFILE", "ENFILE", "EAGAIN", "ENOMEM")


def caused(error, number):
    try:
        raise error from OSError(number, "refused")
    except OneflowerError as raised:
        return raised


@pytest.mark.parametrize("name", PASSING)
def test_what_the_system_refuses_now_passes_whoever_reports_it(name, tmp_path):
    number = getattr(errno, name)
    assert may_pass(OSError(number, "refused"))
    for kind in (StateError, CheckpointError, ClusterError, AppError):
        assert may_pass(caused(kind("text"), number)), kind
    with pytest.raises(StateError) as caught, state_errors(tmp_path):
        raise OSError(number, "refused")
    assert may_pass(caught.value)


@pytest.mark.parametrize("name", ["ENOTDIR", "EEXIST", "EISDIR", "ENAMETOOLONG", "EINVAL", "ELOOP"])
def test_a_wrong_path_is_a_wrong_setting(name):
    assert kind_of(caused(StateError("text"), getattr(errno, name))) is ErrorKind.SETTINGS
    assert kind_of(OSError(getattr(errno, name), "refused")) is ErrorKind.APP


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (SettingsError("text"), ErrorKind.SETTINGS),
        (caused(SettingsError("no such file"), errno.ENOENT), ErrorKind.SETTINGS),
        (AppError("text"), ErrorKind.SETTINGS),
        (CheckpointError("of another model"), ErrorKind.SETTINGS),
        (FolderLockedError("another run writes it"), ErrorKind.ENVIRONMENT),
        (ClusterError("did not start"), ErrorKind.ENVIRONMENT),
        (StateError("too few bytes free"), ErrorKind.ENVIRONMENT),
        (TrainingError("no quorum"), ErrorKind.SETTINGS),
        (MemoryError(), ErrorKind.ENVIRONMENT),
        (sqlite3.DatabaseError("file is not a database"), ErrorKind.ENVIRONMENT),
        (ValueError("shape"), ErrorKind.APP),
        (RuntimeError("CUDA"), ErrorKind.APP),
    ],
)
def test_a_class_has_a_kind(error, kind):
    assert kind_of(error) is kind


def test_every_class_of_the_tree_is_in_the_table():
    tree = {each for each in vars(errors).values() if isinstance(each, type)} - {OneflowerError}
    assert tree <= set(KINDS)


def test_what_was_handled_meanwhile_is_no_cause():
    error = ValueError("shape")
    error.__context__ = OSError(errno.ENOSPC, "full")
    assert kind_of(error) is ErrorKind.APP


@pytest.mark.parametrize("passing", [True, False])
def test_an_error_may_know_better_than_the_table(passing):
    error = ClusterError("text")
    error.passing = passing
    assert may_pass(error) is passing


def test_a_kind_is_read_from_the_journal():
    assert kind_named("environment") is ErrorKind.ENVIRONMENT
    assert kind_named("of tomorrow") is None
    assert kind_named(None) is None
