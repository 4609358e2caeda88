"""A checkpoint folder that someone else may have written: damage, at once, without memory or a crash."""

import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oneflower.checkpoints import CheckpointReader, CheckpointStore, ModelSchema, files, history
from oneflower.checkpoints.files import OsFiles
from oneflower.checkpoints.manifest import parse, render
from oneflower.checkpoints.npz_reading import UNREADABLE, read_npz
from oneflower.checkpoints.reading import DamagedError
from oneflower.errors import CheckpointError, StateError

from .conftest import make

MANIFEST, MODEL = "checkpoint_round_4.json", "checkpoint_round_4.npz"


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "checkpoints"
    with CheckpointStore(root) as store:
        for number in (3, 4):
            store.save(make(number, size=4))
    return root


def rewrite(root, change):
    """Change a manifest and give it a right digest, as whoever can write the folder can."""
    content = json.loads((root / MANIFEST).read_text())
    del content["manifest_sha256"]
    change(content)
    (root / MANIFEST).write_bytes(render(content))


def put_model(root, data, rows=None):
    """Replace the model with bytes whose size and digest the manifest confirms."""
    (root / MODEL).write_bytes(data)

    def change(content):
        record = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        content["files"]["model"].update(record)
        if rows is not None:
            content["arrays"] = rows

    rewrite(root, change)


def npy(shape, data, descr="<f4"):
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def zipped(*entries, how=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return buffer.getvalue()


def everything_refuses(root):
    """Read the folder in every way, with little memory allowed; the round before is what a training takes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reader = CheckpointReader(root)
    assert [info.round for info in reader.list()] == [3, 4]
    reader.metrics()
    with pytest.raises(CheckpointError, match="is damaged"):
        reader.verify(4)
    with pytest.raises(CheckpointError, match="is damaged"):
        reader.load(4)
    assert reader.latest().round == 3
    with CheckpointStore(root) as store:
        assert store.latest().round == 3
        store.save(make(5))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@pytest.mark.parametrize("name", [MANIFEST, MODEL])
@pytest.mark.parametrize("target", ["/dev/zero", "/etc/passwd", "../elsewhere"])
def test_a_link_is_not_followed(folder, name, target):
    (folder.parent / "elsewhere").write_bytes((folder / name).read_bytes())
    (folder / name).unlink()
    (folder / name).symlink_to(target)
    everything_refuses(folder)


def test_a_device_is_not_read(folder):
    if os.geteuid() != 0:
        pytest.skip("needs root to make a device")
    (folder / MODEL).unlink()
    try:
        os.mknod(folder / MODEL, 0o20644, os.makedev(1, 5))
    except OSError:
        pytest.skip("no devices may be made here")
    everything_refuses(folder)


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 200_000 + b"]" * 200_000,
        b'{"a":' * 100_000,
        b'{"round": 1e400, "manifest_sha256": "x"}',
        b'{"round": ' + b"9" * 5000 + b', "manifest_sha256": "x"}',
        b'{"manifest_sha256": "\\ud800"}',
        b"\xff\xfe",
    ],
)
def test_a_manifest_of_any_bytes_is_damage(folder, text):
    (folder / MANIFEST).write_bytes(text)
    everything_refuses(folder)


def test_a_manifest_beyond_its_bound_is_not_read(folder):
    os.truncate(folder / MANIFEST, 1 << 40)
    everything_refuses(folder)


def test_a_model_larger_than_its_manifest_says_is_not_read(folder):
    os.truncate(folder / MODEL, 1 << 40)
    everything_refuses(folder)


def test_a_compressed_array_is_not_inflated(folder):
    data = npy("(50_000_000,)".replace("_", ""), bytes(200_000_000))
    rows = [{"name": "w", "shape": [50_000_000], "dtype": "<f4"}]
    put_model(folder, zipped(("w.npy", data), how=zipfile.ZIP_DEFLATED), rows)
    everything_refuses(folder)


def test_an_array_is_not_allocated_before_its_bytes_are_there(folder):
    rows = [{"name": "w", "shape": [900_000_000_000], "dtype": "<f4"}]
    put_model(folder, zipped(("w.npy", npy("(900000000000,)", bytes(100)))), rows)
    everything_refuses(folder)


def test_entries_that_share_their_bytes_are_refused(folder):
    whole = zipped(("w.npy", npy("(250000,)", bytes(1_000_000))))
    at = whole.index(b"PK\x01\x02")
    entry, end = whole[at : whole.index(b"PK\x05\x06")], whole.index(b"PK\x05\x06")
    more = b"".join(entry.replace(b"w.npy", b"%c.npy" % name) for name in range(97, 119))
    tail = bytearray(whole[end:])
    tail[8:12] = (23).to_bytes(2, "little") * 2
    tail[12:16] = (len(entry) + len(more)).to_bytes(4, "little")
    rows = [{"name": chr(name), "shape": [250_000], "dtype": "<f4"} for name in range(97, 120)]
    put_model(folder, whole[:at] + more + entry + bytes(tail), rows)
    everything_refuses(folder)


@pytest.mark.parametrize("descr", ["|O", "<U9", "('<f4', (9,))", "<M8[s]"])
def test_an_array_of_anything_but_numbers_is_refused(folder, descr):
    data = npy("(1,)", bytes(36), descr=descr).replace(b"'('", b"('").replace(b")'", b")")
    put_model(folder, zipped(("w.npy", data)), [{"name": "w", "shape": [1], "dtype": descr}])
    everything_refuses(folder)


WRONG = {
    "round": [True, -4, 1e400, "4", None, 10**30],
    "total_rounds": ["x", 999_999_999_999_999_999, None],
    "strategy": [None, 7, "a" * 100_000, ["FedAvg"]],
    "app": [{}, 5],
    "seed": [{}, 2**70, 1.5],
    "time": [7, None],
    "parameters": [None, {"a": []}, {"a": 10**30}, [1]],
    "versions": [None, {"a": 1}],
    "best": [[], {"round": -1, "value": 1}, {"round": 1}, {"round": 1, "metric": [], "value": 1}],
    "metrics": [[], {"central": 5}, {"central": {"4": {"loss": "x"}}}, {"central": {"four": {}}}],
    "arrays": [5, [5], [{"name": "w"}], [{"name": "w", "shape": [-1, 10**30], "dtype": "<f4"}]],
    "state_arrays": [None, [{"name": "w", "shape": [1], "dtype": "|O"}]],
    "files": [{}, {"model": None, "state": None}, {"model": {"name": "x"}, "state": None}],
    "notes": [[], 7],
    "best_metric": [[], 7],
    "history": [None, {}, {"name": "checkpoint_history.jsonl", "size_bytes": 10**30, "sha256": 5}],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in WRONG.items() for value in values]
)
def test_a_field_of_another_type_or_beyond_its_bound_is_damage(folder, field, value):
    if value == 1e400:
        text = (folder / MANIFEST).read_text().replace('"round": 4', '"round": 1e400')
        (folder / MANIFEST).write_text(text)
    else:
        rewrite(folder, lambda content: content.update({field: value}))
    with pytest.raises(CheckpointError, match="is damaged"):
        CheckpointReader(folder).verify(4)
    assert CheckpointReader(folder).latest().round == 3


def test_a_declared_size_beyond_its_arrays_is_damage(folder):
    rewrite(folder, lambda content: content["files"]["model"].update(size_bytes=3_600_000_000_000))
    everything_refuses(folder)


def test_another_model_is_refused_before_its_file_is_read(folder):
    """A file of the right size for its own manifest could be of any size."""

    class NoModels(OsFiles):
        def open(self, path):
            assert not path.name.endswith(".npz"), "a model was opened"
            return super().open(path)

    with pytest.raises(CheckpointError, match="another model"):
        CheckpointReader(folder, files=NoModels()).latest(ModelSchema(arrays={"w": ((3,), "<f4")}))


def test_too_little_memory_is_not_damage(folder):
    """Otherwise a machine with little memory would set every checkpoint aside and train from round 1."""

    class Lean(OsFiles):
        def open(self, path):
            file = super().open(path)
            if path.name.endswith(".npz"):

                class Short(io.BytesIO):
                    def read(self, *_):
                        raise MemoryError

                with file:
                    return Short(file.read())
            return file

    with pytest.raises(StateError, match="bytes of memory"):
        CheckpointReader(folder, files=Lean()).latest()


def test_the_temporary_name_of_a_file_may_be_a_link_to_another(folder):
    victim = folder.parent / "victim"
    victim.write_text("precious")
    with CheckpointStore(folder) as store:
        for name in ("checkpoint_round_5.npz", "checkpoint_round_5.json"):
            (folder / f".{name}.tmp").symlink_to(victim)
        with pytest.raises(StateError):
            store.save(make(5))
        assert victim.read_text() == "precious"
        store.save(make(5))
    assert victim.read_text() == "precious"


def test_a_lock_that_is_a_link_is_refused(folder):
    (folder / ".checkpoint.lock").unlink()
    (folder / ".checkpoint.lock").symlink_to(folder.parent / "victim")
    with pytest.raises(StateError):
        CheckpointStore(folder).open()
    assert not (folder.parent / "victim").exists()


@pytest.mark.parametrize(
    "name",
    ["checkpoint_round_" + "9" * 200 + ".json", "checkpoint_round_٤.json", "checkpoint_round_\udc80.json"],
)
def test_a_name_with_any_number_is_not_a_round(folder, name):
    (folder / name).write_text("{}")
    assert CheckpointReader(folder).rounds() == (3, 4)


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000,
        b'{"round": 1e400, "metrics": {}, "sha256": "' + b"0" * 64 + b'"}',
        b'{"round": 5, "after": 1e400, "metrics": {}, "sha256": "' + b"0" * 64 + b'"}',
        b'{"round": 5, "after": [], "metrics": {}, "sha256": "' + b"0" * 64 + b'"}',
        b'{"round": 5, "metrics": {"a": {"1": {"b": 1e400}}}, "sha256": "' + b"0" * 64 + b'"}',
    ],
)
def test_a_line_of_the_history_of_any_bytes_is_skipped(folder, line):
    with (folder / "checkpoint_history.jsonl").open("ab") as file:
        file.write(line + b"\n")
    with CheckpointStore(folder) as store:
        assert store.latest().round == 4
        store.save(make(5))
    assert CheckpointReader(folder).metrics_problem(5) is None


HISTORY = "checkpoint_history.jsonl"
DENSE = {
    "lists": b'{"round": 5, "metrics": [' + b"[]," * 8_000_000 + b'1], "sha256": "' + b"0" * 64 + b'"}\n',
    "objects": b'{"round": 5, "metrics": {"a":{"5":[' + b'{"":0},' * 4_000_000 + b"]}}}\n",
    "long": b'{"round": 5, "metrics": ' + b" " * (40 << 20) + b'0, "sha256": "' + b"0" * 64 + b'"}\n',
}


@pytest.mark.parametrize("line", DENSE.values(), ids=DENSE.keys())
def test_a_line_of_the_history_beyond_its_bounds_is_skipped_without_memory(folder, line):
    with (folder / HISTORY).open("ab") as file:
        file.write(line)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reader = CheckpointReader(folder)
    assert reader.metrics()
    assert [reader.metrics_problem(number) for number in reader.rounds()] == [None, None]
    with CheckpointStore(folder) as store:
        assert store.latest().round == 4
        store.save(make(5))
    assert CheckpointReader(folder).metrics_problem(5) is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 250_000


def test_a_history_of_too_many_lines_is_set_aside_and_the_model_resumes(folder, monkeypatch):
    monkeypatch.setattr(history, "MOST_LINES", 1000)
    with (folder / HISTORY).open("ab") as file:
        file.write(b"\n" * 1001)
    assert "1000 lines" in CheckpointReader(folder).metrics_problem(4)
    with CheckpointStore(folder) as store:
        assert store.latest().round == 4
        store.save(make(5))
    assert (folder / f"{HISTORY}.damaged-1").exists()
    assert CheckpointReader(folder).metrics_problem(5) is None


DENSE_FILES = {
    "lists": b'{"round": 1, "metrics": {"central": {"1": {"x": [' + b"1," * 900_000 + b"1]}}}",
    "empty lists": b'{"round": 1, "metrics": {"central": {"1": {' + b'"x": [],' * 300_000 + b'"y": []}}}',
}


@pytest.mark.parametrize("body", DENSE_FILES.values(), ids=DENSE_FILES.keys())
def test_a_history_of_many_lists_takes_the_memory_of_those_kept(folder, body):
    """Every line is valid: whoever can write the folder can compute its SHA-256."""
    path, before = folder / HISTORY, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with path.open("ab") as file:
        for _ in range(20):
            text = body[:-1] + b', "after": 0}'
            digest = hashlib.sha256(text[:-1]).hexdigest()
            file.write(text[:-1] + f', "sha256": "{digest}"}}\n'.encode())
    assert path.stat().st_size > 20_000_000
    assert CheckpointReader(folder).metrics_problem(4) is None
    with CheckpointStore(folder) as store:
        store.save(make(5))
    assert CheckpointReader(folder).metrics_problem(5) is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 250_000


def test_a_history_of_too_many_values_is_damage(folder, monkeypatch):
    monkeypatch.setattr(history, "MOST_VALUES", 5)
    assert CheckpointReader(folder).metrics_problem(4)
    assert CheckpointReader(folder).latest().round == 4


def test_a_damaged_history_is_not_read_again_for_each_round(folder):
    class Counted(OsFiles):
        reads = 0

        def open(self, path):
            file = super().open(path)
            if path.name == HISTORY:
                data = file.read()
                file.close()

                class Spy(io.BytesIO):
                    def readline(self, *size):
                        Counted.reads += self.tell() == 0
                        return super().readline(*size)

                return Spy(data)
            return file

    (folder / HISTORY).write_bytes(b"\n" * 10)
    reader = CheckpointReader(folder, files=Counted())
    assert all(reader.metrics_problem(number) for number in reader.rounds())
    assert Counted.reads == 1


@pytest.mark.parametrize("many", [900_000, 4_000_000])
def test_a_manifest_of_millions_of_values_takes_little_memory(folder, many):
    content = json.loads((folder / MANIFEST).read_text())
    text = json.dumps({**content, "notes": {"x": "here"}})
    (folder / MANIFEST).write_text(text.replace('"here"', f"[{'[],' * many}[]]"))
    everything_refuses(folder)


def test_a_manifest_nested_deeply_is_damage(folder):
    """It would be parsed, and whoever prints it would end with a RecursionError."""
    deep = []
    for _ in range(100):
        deep = [deep]
    rewrite(folder, lambda content: content.update(notes={"x": deep}))
    everything_refuses(folder)


def test_a_folder_of_dangling_links_is_listed_once(folder):
    class Counted(OsFiles):
        lists = 0

        def names(self, path):
            Counted.lists += 1
            return super().names(path)

    for number in range(5, 500):
        (folder / f"checkpoint_round_{number}.json").symlink_to("nowhere")
    infos = CheckpointReader(folder, files=Counted()).list()
    assert len(infos) == 497
    assert Counted.lists <= 2


def test_a_hundred_damaged_rounds_are_too_many_to_look_for_a_good_one(folder):
    for number in range(5, 305):
        (folder / f"checkpoint_round_{number}.json").symlink_to("nowhere")
    with (
        CheckpointStore(folder) as store,
        pytest.raises(CheckpointError, match=r"newest 100 checkpoints .* down to round 205, are damaged"),
    ):
        store.latest()
    assert len([name for name in store.set_aside() if name.endswith("damaged-1")]) == 100


def test_a_folder_of_too_many_files_is_refused_before_it_is_listed(folder, monkeypatch):
    monkeypatch.setattr(files, "MOST_NAMES", 3)
    with pytest.raises(StateError, match=r"more than 3 files\. Remove what is not a checkpoint"):
        CheckpointReader(folder).list()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(data=st.data())
def test_no_change_of_a_manifest_is_more_than_damage(folder, data):
    content = json.loads((folder / MANIFEST).read_text())
    del content["manifest_sha256"]
    inside = content
    while isinstance(inside, dict | list) and inside:
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(inside[key], dict | list) or data.draw(st.booleans()):
            inside[key] = data.draw(VALUES)
            break
        inside = inside[key]
    try:
        manifest = parse(render(content), 4)
    except DamagedError:
        return
    except CheckpointError:  # of a later schema
        return
    assert manifest.round == 4


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(data=st.data())
def test_no_change_of_an_array_file_is_more_than_unreadable(folder, data):
    whole = bytearray((folder / MODEL).read_bytes())
    rows = parse((folder / MANIFEST).read_bytes(), 4).schema.arrays
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        arrays = read_npz(io.BytesIO(bytes(whole)), rows)
    except UNREADABLE:
        return
    assert {name: (array.shape, array.dtype.str) for name, array in arrays.items()} == rows


def test_a_folder_with_every_trap_is_listed_at_once_with_little_memory(folder):
    """In a process of its own, with its memory limited: what a crash would be shows there."""
    (folder / MODEL).unlink()
    (folder / MODEL).symlink_to("/dev/zero")
    (folder / "checkpoint_round_5.json").symlink_to("/dev/zero")
    os.mkfifo(folder / "checkpoint_round_6.json")
    (folder / "checkpoint_round_7.json").write_text("[" * 1_000_000)
    (folder / "checkpoint_round_8.json").mkdir()
    command = [sys.executable, "-m", "oneflower.cli.main", "checkpoints", "list", str(folder)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30)),
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count("NO: ") == 5


def test_numpy_arrays_of_the_store_are_what_the_bounds_allow(tmp_path):
    """The bounds may refuse nothing that the store writes."""
    names = ["", "a", "ü" * 300, "layer." * 40]
    arrays = {name: np.zeros(shape) for name, shape in zip(names, [(), (0,), (1,) * 20, (3, 4)], strict=True)}
    with CheckpointStore(tmp_path / "checkpoints") as store:
        store.save(make(1, arrays=arrays))
        assert store.latest().arrays.keys() == arrays.keys()
