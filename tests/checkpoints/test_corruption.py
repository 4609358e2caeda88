"""Any changed byte of a checkpoint is detected, reported, set aside, and the round before it is used."""

import itertools
import logging
import shutil

import numpy as np
import pytest

from oneflower.checkpoints import CheckpointReader, CheckpointStore
from oneflower.checkpoints.files import OsFiles
from oneflower.checkpoints.reading import DamagedError, read_checkpoint, read_manifest, verify_files

FILES = ("checkpoint_round_4.json", "checkpoint_round_4.npz", "checkpoint_round_4.state.npz")


@pytest.fixture
def folder(scratch, make):
    """Return a folder with rounds 3 and 4."""
    root = scratch / "checkpoints"
    with CheckpointStore(root) as store:
        for number in (3, 4):
            store.save(make(number, size=4))
    return root


def load(files, root, number):
    return read_checkpoint(files, root, read_manifest(files, root, number), {})


def is_refused(root, number):
    """Return whether both ways of reading a round report damage."""
    for read in (load, lambda f, r, n: verify_files(f, r, read_manifest(f, r, n))):
        try:
            read(OsFiles(), root, number)
        except DamagedError:
            continue
        return False
    return True


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_byte_is_detected(folder, name, count):
    path = folder / name
    whole = path.read_bytes()
    for position in range(len(whole)):
        for flip in (0x01, 0x80) if name.endswith("json") else (0xFF,):
            flipped = bytearray(whole)
            flipped[position] ^= flip
            path.write_bytes(flipped)
            count("bytes flipped")
            assert is_refused(folder, 4), f"byte {position} of {name}"


@pytest.mark.parametrize("name", FILES)
def test_every_truncation_and_an_added_byte_are_detected(folder, name, count):
    path = folder / name
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        count("truncations")
        assert is_refused(folder, 4), f"{name} cut to {length} bytes"
    for added in (b"\0", b"\n", b" "):
        path.write_bytes(whole + added)
        assert is_refused(folder, 4)


def test_flipped_bytes_of_a_large_model_are_detected(scratch, make, count):
    root = scratch / "large"
    with CheckpointStore(root) as store:
        store.save(make(4, arrays={"w": np.random.default_rng(0).standard_normal(1_000_000)}))
    path = root / FILES[1]
    size = path.stat().st_size
    with path.open("r+b") as file:
        for position in np.random.default_rng(1).integers(0, size, 100).tolist():
            file.seek(position)
            byte = file.read(1)
            file.seek(position)
            file.write(bytes([byte[0] ^ 1]))
            file.flush()
            count("bytes flipped")
            with pytest.raises(DamagedError):
                verify_files(OsFiles(), root, read_manifest(OsFiles(), root, 4))
            file.seek(position)
            file.write(byte)
    CheckpointReader(root).verify(4)


def spoil_flip(root):
    path = root / FILES[1]
    path.write_bytes(path.read_bytes().replace(b"NUMPY", b"NUMPX", 1))


def spoil_cut(root):
    path = root / FILES[2]
    path.write_bytes(path.read_bytes()[:100])


def spoil_remove_model(root):
    (root / FILES[1]).unlink()


def spoil_remove_state(root):
    (root / FILES[2]).unlink()


def spoil_empty_manifest(root):
    (root / FILES[0]).write_bytes(b"")


def spoil_model_of_another_round(root):
    shutil.copy(root / "checkpoint_round_3.npz", root / FILES[1])


def spoil_state_of_another_round(root):
    shutil.copy(root / "checkpoint_round_3.state.npz", root / FILES[2])


def spoil_manifest_of_another_round(root):
    shutil.copy(root / "checkpoint_round_3.json", root / FILES[0])


def spoil_model_as_state(root):
    shutil.copy(root / FILES[1], root / FILES[2])


def spoil_folder_for_a_file(root):
    (root / FILES[1]).unlink()
    (root / FILES[1]).mkdir()


SPOILS = {
    spoil_flip: "checkpoint_round_4.npz has SHA-256",
    spoil_cut: "checkpoint_round_4.state.npz has 100 bytes, committed were",
    spoil_remove_model: "checkpoint_round_4.npz is missing",
    spoil_remove_state: "checkpoint_round_4.state.npz is missing",
    spoil_empty_manifest: "the manifest is not JSON",
    spoil_model_of_another_round: "checkpoint_round_4.npz has SHA-256",
    spoil_state_of_another_round: "checkpoint_round_4.state.npz has SHA-256",
    spoil_manifest_of_another_round: "the manifest is that of round 3, expected round 4",
    spoil_model_as_state: "checkpoint_round_4.state.npz has",
    spoil_folder_for_a_file: "checkpoint_round_4.npz is not a file",
}


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda spoil: spoil.__name__)
def test_the_damage_is_reported_and_set_aside_and_the_round_before_is_used(
    folder, spoil, make, same, caplog, count
):
    spoil(folder)
    spoiled = {path.name: path.read_bytes() for path in folder.glob("checkpoint_round_4*") if path.is_file()}
    count("files spoiled or swapped")
    with CheckpointStore(folder) as store, caplog.at_level(logging.WARNING):
        assert same(store.latest(), make(3, size=4))
        assert store.rounds() == (3,)
        store.save(make(4, size=4))
        assert same(store.latest(), make(4, size=4))
    assert SPOILS[spoil] in caplog.text
    assert "round=4" in caplog.text
    aside = {path.name: path.read_bytes() for path in folder.glob("*.damaged-1") if path.is_file()}
    assert aside == {f"{name}.damaged-1": content for name, content in spoiled.items()}


def test_files_of_two_rounds_swapped_in_any_way_are_detected(folder, scratch, count):
    """Each file of round 3 is swapped with each of round 4; every swap of different files is detected."""
    ends = ("npz", "state.npz", "json")
    for number, (left, right) in enumerate(itertools.product(ends, ends)):
        root = scratch / str(number)
        shutil.copytree(folder, root, symlinks=True)
        one, other = root / f"checkpoint_round_3.{left}", root / f"checkpoint_round_4.{right}"
        content = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(content)
        count("files spoiled or swapped")
        assert is_refused(root, 3)
        assert is_refused(root, 4)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_run_is_detected(folder, scratch, make, name, count):
    other = scratch / "other"
    with CheckpointStore(other) as store:
        store.save(make(4, size=4, fill=0.5, seed=7))
    shutil.copy(other / name, folder / name)
    count("files spoiled or swapped")
    assert is_refused(folder, 4)


def test_a_manifest_that_points_outside_the_folder_is_refused(folder):
    """Even if the file there matches its digest: only the round's own files in the folder are loaded."""
    import json

    from oneflower.checkpoints.manifest import SELF, render

    path = folder / FILES[0]
    content = {key: value for key, value in json.loads(path.read_bytes()).items() if key != SELF}
    content["files"]["model"]["name"] = f"../{folder.name}/{FILES[1]}"
    path.write_bytes(render(content))
    assert is_refused(folder, 4)


@pytest.mark.parametrize("change", [{"files": {}}, {"arrays": [{}]}, {"round": "4"}, {"state_arrays": 7}])
def test_a_manifest_with_a_valid_digest_and_invalid_content_is_refused(folder, change):
    import json

    from oneflower.checkpoints.manifest import SELF, render

    path = folder / FILES[0]
    content = {key: value for key, value in json.loads(path.read_bytes()).items() if key != SELF}
    path.write_bytes(render(content | change))
    assert is_refused(folder, 4)


def test_damaged_links_do_not_matter_and_are_repaired(folder, make, same):
    (folder / "checkpoint_metadata.json").write_bytes(b"rot")
    (folder / "checkpoint_latest.npz").unlink()
    (folder / "checkpoint_latest.npz").write_bytes(b"rot")
    with CheckpointStore(folder) as store:
        assert same(store.latest(), make(4, size=4))
    assert (folder / "checkpoint_latest.npz").readlink().name == FILES[1]
    assert (folder / "checkpoint_metadata.json").read_bytes() == (folder / FILES[0]).read_bytes()
