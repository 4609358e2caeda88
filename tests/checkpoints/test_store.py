"""The store as a training uses it: save, resume, refuse, and never lose a committed round."""

import errno
import hashlib
import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest

from oneflower.checkpoints import (
    CheckpointReader,
    CheckpointStore,
    KeepNewest,
    ModelSchema,
    model_digest,
    retention_of,
)
from oneflower.errors import CheckpointError, StateError


@pytest.fixture
def store(root):
    with CheckpointStore(root) as store:
        yield store


def names(root):
    return sorted(path.name for path in root.iterdir() if not path.name.startswith("."))


def test_a_saved_checkpoint_loads_bit_for_bit(store, make, same):
    saved = store.save(make(3))
    assert same(store.latest(), make(3))
    assert same(store.load(3), make(3))
    assert (saved.round, saved.path) == (3, store.root / "checkpoint_round_3.npz")
    assert saved.size_bytes == sum(path.stat().st_size for path in store.root.glob("checkpoint_round_3*.npz"))
    assert saved.seconds > 0


def test_the_folder_holds_the_documented_names_and_nothing_else(store, make):
    store.save(make(3))
    store.save(make(4, state=False))
    assert names(store.root) == [
        "checkpoint_best.npz",
        "checkpoint_history.jsonl",
        "checkpoint_latest.npz",
        "checkpoint_metadata.json",
        "checkpoint_round_3.json",
        "checkpoint_round_3.npz",
        "checkpoint_round_3.state.npz",
        "checkpoint_round_4.json",
        "checkpoint_round_4.npz",
    ]


def test_numpy_opens_the_model_without_pickle_through_the_latest_link(store, make):
    store.save(make(3))
    store.save(make(4))
    assert (store.root / "checkpoint_latest.npz").readlink().name == "checkpoint_round_4.npz"
    with np.load(store.root / "checkpoint_latest.npz", allow_pickle=False) as model:
        assert {name: model[name].tobytes() for name in model} == {
            name: array.tobytes() for name, array in make(4).arrays.items()
        }


def test_the_metadata_file_is_a_copy_of_the_newest_manifest(store, make):
    store.save(make(3))
    text = (store.root / "checkpoint_metadata.json").read_text()
    assert text == (store.root / "checkpoint_round_3.json").read_text()
    manifest = json.loads(text)
    assert {
        "schema",
        "round",
        "total_rounds",
        "strategy",
        "parameters",
        "app",
        "seed",
        "time",
        "versions",
    } < set(manifest)
    assert manifest["arrays"][0] == {"name": "conv.weight", "shape": [8, 3], "dtype": "<f4"}
    assert manifest["best"] == {"round": 3, "metric": "central accuracy", "value": 0.03, "higher": True}
    assert manifest["metrics"] == {"central": {"3": {"accuracy": 0.03, "loss": 1 / 3}}}
    assert manifest["history"]["size_bytes"] == (store.root / "checkpoint_history.jsonl").stat().st_size


def test_the_sha256_of_a_save_is_the_models_digest_and_the_files(store, make):
    saved = store.save(make(3))
    assert saved.sha256 == model_digest(make(3).arrays) == hashlib.sha256(saved.path.read_bytes()).hexdigest()


def test_numbers_that_are_not_finite_survive_in_strict_json(store, make):
    metrics = {
        "train": {"1": {"loss": float("nan")}, "2": {"loss": float("inf")}, "3": {"loss": -float("inf")}}
    }
    store.save(make(3, metrics=metrics))
    json.loads((store.root / "checkpoint_round_3.json").read_text(), parse_constant=pytest.fail)
    assert repr(store.latest().metrics) == repr(metrics)


def test_numpy_numbers_among_the_metrics_load_as_the_same_numbers(store, make):
    store.save(
        make(
            3,
            metrics={
                "train": {"3": {"loss": np.float64(0.1), "n": np.int64(7), "each": [1.5, float("nan")]}}
            },
        )
    )
    assert repr(store.latest().metrics) == repr(
        {"train": {"3": {"loss": 0.1, "n": 7, "each": [1.5, float("nan")]}}}
    )


def test_an_empty_or_missing_folder_has_no_checkpoint(tmp_path):
    reader = CheckpointReader(tmp_path / "none")
    assert (reader.latest(), reader.rounds(), reader.list()) == (None, (), ())


def test_a_missing_round_is_an_error_that_names_the_committed_ones(store, make):
    store.save(make(2))
    store.save(make(5))
    with pytest.raises(CheckpointError, match=r"no checkpoint of round 3 .* Committed rounds: 2, 5"):
        store.load(3)


def test_another_model_is_refused_with_every_difference(store, make):
    store.save(make(3))
    other = ModelSchema.of(
        {"conv.weight": np.zeros((8, 4), np.float32), "fc.bias": np.zeros(8), "new": np.zeros(1)}
    )
    with pytest.raises(CheckpointError) as refusal:
        store.latest(other)
    text = str(refusal.value)
    assert "conv.weight: shape [8, 4] <f4 here, shape [8, 3] <f4 in the checkpoint" in text
    assert "new: not in the checkpoint" in text
    assert "bn.num_batches_tracked: only in the checkpoint" in text
    assert "fc.bias" not in text
    assert names(store.root).count("checkpoint_round_3.json") == 1


def test_the_same_model_is_accepted(store, make, same):
    store.save(make(3))
    assert same(store.latest(ModelSchema.of(make(1).arrays)), make(3))


def test_saving_the_same_content_again_accepts_the_committed_round(store, make):
    first = store.save(make(3))
    before = {path: path.stat().st_ino for path in store.root.glob("checkpoint_round*")}
    again = store.save(make(3))
    assert again.sha256 == first.sha256
    assert {path: path.stat().st_ino for path in store.root.glob("checkpoint_round*")} == before


def test_other_content_for_a_committed_round_sets_the_earlier_aside(store, make, same, caplog):
    store.save(make(3))
    store.save(make(3, fill=0.5))
    store.save(make(3, fill=0.7))
    assert same(store.latest(), make(3, fill=0.7))
    assert [name for name in names(store.root) if "superseded" in name] == [
        "checkpoint_round_3.json.superseded-1",
        "checkpoint_round_3.json.superseded-2",
        "checkpoint_round_3.npz.superseded-1",
        "checkpoint_round_3.npz.superseded-2",
        "checkpoint_round_3.state.npz.superseded-1",
        "checkpoint_round_3.state.npz.superseded-2",
    ]
    with np.load(store.root / "checkpoint_round_3.npz.superseded-1") as model:
        assert model["fc.bias"].tobytes() == make(3).arrays["fc.bias"].tobytes()
    assert "round=3" in caplog.text


def test_the_same_arrays_of_another_training_are_other_content(store, make):
    store.save(make(3))
    store.save(make(3, seed=7))
    assert store.latest().seed == 7
    assert "checkpoint_round_3.json.superseded-1" in names(store.root)


def test_a_damaged_round_is_set_aside_named_and_the_one_before_it_is_used(store, make, same, caplog):
    store.save(make(3))
    store.save(make(4))
    path = store.root / "checkpoint_round_4.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        assert same(store.latest(), make(3))
    assert "round=4" in caplog.text
    assert "checkpoint_round_4.npz has" in caplog.text
    assert "checkpoint_round_4.npz.damaged-1" in names(store.root)
    assert "checkpoint_round_4.json" not in names(store.root)
    assert (store.root / "checkpoint_latest.npz").readlink().name == "checkpoint_round_3.npz"


def test_a_reader_skips_a_damaged_round_and_changes_nothing(store, make, same):
    store.save(make(3))
    store.save(make(4))
    (store.root / "checkpoint_round_4.state.npz").unlink()
    before = names(store.root)
    assert same(CheckpointReader(store.root).latest(), make(3))
    assert names(store.root) == before


def test_loading_a_damaged_round_by_number_is_an_error(store, make):
    store.save(make(4))
    (store.root / "checkpoint_round_4.state.npz").unlink()
    with pytest.raises(CheckpointError, match=r"round 4 .* damaged: checkpoint_round_4.state.npz is missing"):
        store.load(4)
    with pytest.raises(CheckpointError, match="is missing"):
        store.verify(4)
    assert "checkpoint_round_4.json" in names(store.root)


def test_saving_a_damaged_round_again_sets_it_aside_and_commits(store, make, same):
    store.save(make(4))
    (store.root / "checkpoint_round_4.state.npz").unlink()
    store.save(make(4))
    assert same(store.latest(), make(4))
    assert "checkpoint_round_4.json.damaged-1" in names(store.root)


def test_an_unreadable_file_is_a_state_error_not_damage(store, make, monkeypatch):
    store.save(make(3))
    store.save(make(4))

    def denied(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(store._files, "open", denied)
    with pytest.raises(StateError, match="Permission denied"):
        store.latest()
    assert "checkpoint_round_4.json" in names(store.root)


def test_a_manifest_of_a_newer_schema_is_refused_and_left_in_place(store, make):
    from oneflower.checkpoints.manifest import SELF, render

    store.save(make(3))
    path = store.root / "checkpoint_round_3.json"
    content = {key: value for key, value in json.loads(path.read_text()).items() if key != SELF}
    path.write_bytes(render(content | {"schema": 3}))
    with pytest.raises(CheckpointError, match="schema 3, expected 2 at most"):
        store.latest()
    assert path.exists()


def test_arrays_that_would_need_pickle_are_refused_before_anything_is_written(store, make):
    with pytest.raises(CheckpointError, match="'text' has dtype object"):
        store.save(make(3, arrays={"text": np.array(["a", None], dtype=object)}))
    assert names(store.root) == []


def test_a_model_without_arrays_is_kept(store, make):
    """That of an app that only asks its clients for figures."""
    store.save(make(3, arrays={}, state={}))
    assert dict(store.latest().arrays) == {}
    assert store.verify(3).round == 3


def test_a_second_writer_in_this_process_is_refused_with_the_holders_name(store, root):
    with pytest.raises(CheckpointError, match=f"written by process {os.getpid()} on "):
        CheckpointStore(root).open()


def test_a_second_writer_in_another_process_is_refused_and_may_write_after_the_first(store, root):
    code = (
        "import sys; from pathlib import Path; from oneflower.checkpoints import CheckpointStore\n"
        "try: CheckpointStore(Path(sys.argv[1])).open()\n"
        "except Exception as error: print(error); sys.exit(error.exit_code)"
    )
    run = [sys.executable, "-c", code, str(root)]
    refused = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)
    assert (refused.returncode, f"process {os.getpid()}" in refused.stdout) == (3, True)
    store.close()
    assert subprocess.run(run, capture_output=True, timeout=60, check=False).returncode == 0


def test_a_forked_child_does_not_keep_the_folder_locked(root):
    store = CheckpointStore(root).open()
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ready[1], b"x")
        os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    store._lock._descriptor, descriptor = None, store._lock._descriptor
    os.close(descriptor)  # what the kernel does when the parent is killed
    try:
        with CheckpointStore(root):
            pass
    finally:
        os.write(done[1], b"x")
        os.waitpid(child, 0)
        for end in (*ready, *done):
            os.close(end)


def test_a_writer_waits_for_the_lock_as_long_as_configured(root):
    import threading

    first = CheckpointStore(root).open()
    timer = threading.Timer(0.3, first.close)
    timer.start()
    CheckpointStore(root, lock_wait_s=30).open().close()


def test_saving_without_opening_is_refused(root, make):
    with pytest.raises(CheckpointError, match="not open for writing"):
        CheckpointStore(root).save(make(1))


def test_stale_temporary_files_of_a_crash_are_removed_at_opening(root, make):
    with CheckpointStore(root) as store:
        store.save(make(1))
    (root / ".checkpoint_round_2.npz.tmp").write_bytes(b"half")
    (root / ".checkpoint_latest.npz.tmp").symlink_to("nowhere")
    (root / "notes.txt").write_text("mine")
    with CheckpointStore(root):
        pass
    assert sorted(path.name for path in root.iterdir() if ".tmp" in path.name) == []
    assert (root / "notes.txt").exists()


def test_a_model_file_without_a_manifest_is_set_aside_not_deleted(root, make):
    root.mkdir()
    (root / "checkpoint_round_2.npz").write_bytes(b"someone's")
    with CheckpointStore(root) as store:
        assert store.latest() is None
    assert (root / "checkpoint_round_2.npz.uncommitted-1").read_bytes() == b"someone's"


def test_retention_deletes_old_rounds_and_the_links_stay_valid(root, make):
    metrics = {"central": {"1": {"accuracy": 0.1}, "2": {"accuracy": 0.9}, "3": {"accuracy": float("nan")}}}
    with CheckpointStore(root, retention=retention_of(2)) as store:
        for number in range(1, 7):
            store.save(make(number, metrics=metrics))
        assert store.rounds() == (2, 5, 6)
    assert not list(root.glob("*round_[134]*"))
    assert (root / "checkpoint_latest.npz").resolve().name == "checkpoint_round_6.npz"


def test_a_round_that_was_just_saved_is_never_deleted(root, make):
    with CheckpointStore(root, retention=KeepNewest(2)) as store:
        for number in (7, 8, 9, 3):
            store.save(make(number, metrics={}))
        assert store.rounds() == (3, 8, 9)


def test_keep_zero_keeps_every_round(root, make):
    with CheckpointStore(root, retention=retention_of(0)) as store:
        for number in range(1, 7):
            store.save(make(number))
        assert store.rounds() == (1, 2, 3, 4, 5, 6)


def test_a_rollback_makes_the_round_the_newest_and_deletes_nothing(store, make, same):
    for number in (1, 2, 3):
        store.save(make(number))
    files = len(names(store.root))
    assert store.rollback(1) == (2, 3)
    assert same(store.latest(), make(1))
    assert len(names(store.root)) == files
    assert (store.root / "checkpoint_latest.npz").readlink().name == "checkpoint_round_1.npz"
    store.save(make(2, fill=0.5))
    assert same(store.latest(), make(2, fill=0.5))
    assert (store.root / "checkpoint_round_2.npz.rolledback-1").exists()


def test_a_rejected_round_is_set_aside_with_later_ones_and_remembered(store, make, same):
    for number in (1, 2, 3):
        store.save(make(number))
    files = len(names(store.root))
    assert store.rejected() == ()
    assert store.reject(2) == (2, 3)
    assert same(store.latest(), make(1))
    assert store.rejected() == (2, 3)
    assert len(names(store.root)) == files
    assert (store.root / "checkpoint_latest.npz").readlink().name == "checkpoint_round_1.npz"
    store.save(make(2))
    assert store.reject(2) == (2,)
    assert store.reject(2) == ()
    assert store.rejected() == (2, 2, 3)
    assert (store.root / "checkpoint_round_2.npz.rejected-2").exists()


def test_a_rollback_to_a_damaged_or_missing_round_changes_nothing(store, make):
    for number in (1, 2):
        store.save(make(number))
    (store.root / "checkpoint_round_1.npz").write_bytes(b"")
    with pytest.raises(CheckpointError, match="damaged"):
        store.rollback(1)
    with pytest.raises(CheckpointError, match="no checkpoint of round 7"):
        store.rollback(7)
    assert store.rounds() == (1, 2)


def test_starting_afresh_sets_every_round_aside(store, make):
    for number in (1, 2):
        store.save(make(number))
    assert store.start_afresh() == (1, 2)
    assert store.latest() is None
    assert not os.path.lexists(store.root / "checkpoint_latest.npz")
    store.save(make(1, fill=0.5))
    assert store.rounds() == (1,)


def test_prune_considers_only_intact_rounds(store, make):
    for number in range(1, 6):
        store.save(make(number))
    for number in (4, 5):
        (store.root / f"checkpoint_round_{number}.npz").write_bytes(b"rot")
    assert store.prune(KeepNewest(2), dry_run=True) == (1,)
    assert store.rounds() == (1, 2, 3, 4, 5)
    assert store.prune(KeepNewest(2)) == (1,)
    assert store.rounds() == (2, 3, 4, 5)


def test_require_space_compares_the_model_with_the_free_disk(store, make, monkeypatch):
    store.require_space(make(1).arrays, make(1).state)
    monkeypatch.setattr(store._files, "free_bytes", lambda folder: 10)
    with pytest.raises(StateError, match="10 bytes free, a checkpoint of this model takes 168"):
        store.require_space(make(1).arrays)


def test_list_reports_each_round_and_what_is_wrong_with_a_manifest(store, make):
    store.save(make(1))
    store.save(make(2))
    (store.root / "checkpoint_round_2.json").write_bytes(b"{")
    good, bad = store.list()
    assert (good.round, good.manifest.content["strategy"], good.problem) == (1, "FedAdam", None)
    assert (bad.round, bad.manifest) == (2, None)
    assert "not JSON" in bad.problem
