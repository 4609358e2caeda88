"""The page believes the disk, not the journal: what is there, and whether it verifies."""

from datetime import UTC, datetime

import numpy as np

from oneflower.checkpoints import Checkpoint, CheckpointStore, retention_of
from oneflower.journal import reduce
from oneflower.monitor.state.safety import PROVEN_FOR_S, Inspector, Proof

from ...making import entry


def save(folder, *numbers):
    with CheckpointStore(folder, retention=retention_of(0)) as store:
        return [
            store.save(
                Checkpoint(
                    round=number,
                    total_rounds=9,
                    arrays={"w": np.full(4, number, np.float32)},
                    state={},
                    strategy="FedAvg",
                    parameters={},
                    app="a/b",
                    seed=1,
                    metrics={},
                    versions={},
                )
            )
            for number in numbers
        ]


def journal(saved):
    return reduce(
        entry(
            "checkpoint_saved",
            at=datetime(2026, 1, 1, 10, tzinfo=UTC),
            round=each.round,
            file=str(each.path),
            size_bytes=each.size_bytes,
            seconds=0.5,
            sha256=each.sha256,
        )
        for each in saved
    )


def proofs(safety):
    return {kept.number: kept.proof for kept in safety.kept}


def test_files_that_verify_are_told_with_their_age_and_the_free_space(tmp_path):
    safety = Inspector().look(journal(save(tmp_path, 1, 2)))
    assert proofs(safety) == {1: Proof.VERIFIED, 2: Proof.VERIFIED}
    assert (safety.newest.number, safety.newest.seconds) == (2, 0.5)
    assert safety.free_bytes > 0


def test_a_flipped_byte_is_found_and_the_one_before_counts(tmp_path):
    view = journal(save(tmp_path, 1, 2))
    file = tmp_path / "checkpoint_round_2.npz"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    safety = Inspector().look(view)
    assert proofs(safety) == {1: Proof.VERIFIED, 2: Proof.DAMAGED}
    assert safety.newest.number == 1
    assert "damaged" in safety.bad[0].problem


def test_what_was_removed_is_not_shown(tmp_path):
    view = journal(save(tmp_path, 1, 2))
    for file in tmp_path.glob("checkpoint_round_1.*"):
        file.unlink()
    assert proofs(Inspector().look(view)) == {2: Proof.VERIFIED}


def test_checkpoints_of_before_the_journal_count_too(tmp_path):
    """A SuperLink's machine was replaced: the checkpoints survived, the journal did not."""
    save(tmp_path, 7)
    safety = Inspector(tmp_path).look(reduce([]))
    assert (safety.newest.number, safety.newest.proof) == (7, Proof.VERIFIED)
    assert safety.newest.time is not None


def test_a_folder_of_another_machine_is_not_called_damaged(tmp_path):
    saved = save(tmp_path / "here", 1)
    view = journal(saved)
    (tmp_path / "here").rename(tmp_path / "there")
    safety = Inspector().look(view)
    assert proofs(safety) == {1: Proof.ELSEWHERE}
    assert safety.bad == ()


def test_files_are_read_once_and_again_after_a_while(tmp_path, monkeypatch):
    view, read = journal(save(tmp_path, 1)), []
    clock = [0.0]
    inspector = Inspector(clock=lambda: clock[0])
    monkeypatch.setattr(
        "oneflower.monitor.state.safety._verify",
        lambda folder, number: (read.append(number), (Proof.VERIFIED, ""))[1],
    )
    assert proofs(inspector.look(view, prove=False)) == {1: Proof.UNCHECKED}
    for _ in range(3):
        inspector.look(view)
    assert read == [1]
    clock[0] = PROVEN_FOR_S + 1
    inspector.look(view)
    assert read == [1, 1]


def test_no_checkpoint_is_nothing_to_show(tmp_path):
    assert Inspector().look(reduce([])).newest is None
    assert Inspector(tmp_path).look(reduce([])).kept == ()
