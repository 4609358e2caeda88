"""Which data an app uses, and who of the server and the clients uses which rows."""

import numpy as np
import pytest

from oneflower.errors import AppError
from oneflower.sdk.client import RoundInfo
from oneflower.sdk.data_source import DataSource, package_file

GROUPS = np.arange(300) % 6


def info(partition_id=0, num_partitions=3):
    return RoundInfo(
        round=1, seed=5, lr=None, proximal_mu=0.0, partition_id=partition_id, num_partitions=num_partitions
    )


@pytest.fixture
def filled(tmp_path):
    (tmp_path / "rows.csv").write_text("a\n1\n")
    return tmp_path


@pytest.fixture(autouse=True)
def _no_data_of_this_machine(monkeypatch):
    monkeypatch.delenv("ONEFLOWER_DATA", raising=False)


def test_a_mounted_folder_belongs_to_its_node_and_stays_whole(filled):
    got = DataSource.from_config({"data-path": str(filled)})
    assert got == DataSource(folder=filled, partitioning="none", alpha=0.5)


def test_an_empty_or_missing_folder_means_the_data_that_the_app_ships_with(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        got = DataSource.from_config({"data-path": str(path)}, shared="group")
        assert (got.folder, got.partitioning) == (None, "group")


def test_the_variable_names_one_data_set_that_is_split(filled, monkeypatch):
    monkeypatch.setenv("ONEFLOWER_DATA", str(filled))
    got = DataSource.from_config({"data-path": "/elsewhere"})
    assert (got.folder, got.partitioning) == (filled, "iid")


def test_the_node_config_wins(filled, monkeypatch):
    monkeypatch.setenv("ONEFLOWER_DATA", "/elsewhere")
    got = DataSource.from_config({}, {"data-path": str(filled), "partition-id": 0})
    assert (got.folder, got.partitioning) == (filled, "none")


def test_a_split_that_is_asked_for_is_taken_for_any_data(filled):
    assert DataSource.from_config({"data-path": str(filled), "partitioning": "iid"}).partitioning == "iid"


@pytest.mark.parametrize("how", ["iid", "dirichlet", "group"])
def test_server_and_clients_share_out_every_row_once(how):
    source = DataSource(folder=None, partitioning=how, alpha=0.5)
    parts = [source.held_out(300, 5)]
    for partition_id in range(3):
        parts += source.local(GROUPS, info(partition_id))
    assert sorted(np.concatenate(parts)) == list(range(300))


def test_a_node_with_its_own_data_uses_all_of_them():
    source = DataSource(folder=None, partitioning="none", alpha=0.5)
    assert sorted(np.concatenate(source.local(GROUPS, info(2)))) == list(range(300))
    assert len(source.held_out(300, 5)) == 300


@pytest.mark.parametrize("how", ["iid", "none"])
def test_the_root_data_are_half_of_what_the_server_holds_out(how):
    whole = DataSource(folder=None, partitioning=how, alpha=0.5)
    halved = DataSource(folder=None, partitioning=how, alpha=0.5, root_half=True)
    root, rest = halved.root(301, 5), halved.held_out(301, 5)
    assert sorted([*root, *rest]) == sorted(whole.held_out(301, 5))
    assert abs(len(root) - len(rest)) <= 1
    assert list(root) == list(halved.root(301, 5))


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_root_data_that_are_too_few_are_refused(rows):
    source = DataSource(folder=None, partitioning="none", alpha=0.5, root_half=True)
    with pytest.raises(AppError, match=f"the server has {rows} rows of data; expected at least 3"):
        source.root(rows, 5)


def test_by_group_every_group_is_on_one_client():
    source = DataSource(folder=None, partitioning="group", alpha=0.5)
    owners = {}
    for partition_id in range(3):
        for group in np.unique(GROUPS[np.concatenate(source.local(GROUPS, info(partition_id)))]):
            owners.setdefault(group, set()).add(partition_id)
    assert len(owners) == 6
    assert all(len(owner) == 1 for owner in owners.values())


def test_too_few_groups_or_rows_are_refused_in_words():
    with pytest.raises(AppError, match="6 groups cannot be dealt to 7"):
        DataSource(folder=None, partitioning="group", alpha=0.5).local(GROUPS, info(0, 7))
    with pytest.raises(AppError, match="has 2 rows of data"):
        DataSource(folder=None, partitioning="none", alpha=0.5).local(GROUPS[:2], info(0, 1))


def test_a_file_of_a_package_that_is_not_there_is_none():
    assert package_file("no_such_package", "x") is None
    assert package_file("numpy", "no/such/file") is None
    assert package_file("numpy", "__init__.py") is not None
