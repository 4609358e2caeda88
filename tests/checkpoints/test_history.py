"""The metrics so far: one append-only file, verified line by line; the model loads without it."""

import json
import logging
import shutil

import pytest

from oneflower.checkpoints import CheckpointReader, CheckpointStore, retention_of
from oneflower.checkpoints.files import OsFiles
from oneflower.checkpoints.history import BEGINNING, Position, line_problem, parse_history, render_line
from oneflower.checkpoints.manifest import SELF, render
from oneflower.errors import AppError, CheckpointError

NAME = "checkpoint_history.jsonl"


@pytest.fixture
def folder(scratch, make):
    """Return a folder with rounds 1 to 4."""
    root = scratch / "checkpoints"
    with CheckpointStore(root) as store:
        for number in (1, 2, 3, 4):
            store.save(make(number, size=1))
    return root


def lines(root):
    return (root / NAME).read_text().splitlines()


def accuracy(number):
    """Return the metrics of one round."""
    return {"central": {str(number): {"accuracy": number / 100}}}


def test_a_save_appends_one_line_with_only_the_new_metrics(scratch, make):
    root = scratch / "c"
    with CheckpointStore(root, retention=retention_of(2)) as store:
        sizes = []
        for number in range(1, 301):
            store.save(make(number, size=1, metrics=accuracy(number)))
            manifest = (root / f"checkpoint_round_{number}.json").stat().st_size
            sizes.append((manifest, len(lines(root)[-1])))
        assert len(lines(root)) == 300
        assert max(m for m, _ in sizes) - min(m for m, _ in sizes) < 100
        assert max(line for _, line in sizes) - min(line for _, line in sizes) < 10
        assert list(store.latest().metrics["central"]) == [str(number) for number in range(1, 301)]


def test_a_save_neither_reads_nor_lists_earlier_rounds(scratch, make):
    """The operations of a save are the same after 3 rounds and after 60, all of which are kept."""
    counted = []

    class Counting(OsFiles):
        def names(self, folder):
            counted.append("names")
            return super().names(folder)

        def open(self, path):
            counted.append(path.name)
            return super().open(path)

    with CheckpointStore(scratch / "c", files=Counting()) as store:
        seen = {}
        for number in range(1, 61):
            counted.clear()
            store.save(make(number, size=1, metrics=accuracy(number)))
            seen[number] = len(counted)
            assert "names" not in counted
        assert seen[3] == seen[60]


def test_metrics_up_to_each_round_are_those_that_were_saved_with_it(folder, make):
    reader = CheckpointReader(folder)
    for number in (1, 2, 3, 4):
        assert reader.load(number).metrics == make(number).metrics
        assert reader.metrics_problem(number) is None


def test_the_file_is_never_shortened_and_a_rollback_continues_from_its_round(folder, make, same):
    before = (folder / NAME).read_bytes()
    with CheckpointStore(folder) as store:
        store.rollback(2)
        store.save(make(3, size=1, fill=0.5, metrics={"central": {"3": {"accuracy": 0.9}}}))
        assert store.latest().metrics["central"] == {
            **make(2).metrics["central"],
            "3": {"accuracy": 0.9},
        }
    assert (folder / NAME).read_bytes().startswith(before)
    for kind in ("json", "npz", "state.npz"):
        (folder / f"checkpoint_round_3.{kind}").unlink()
        for number in (3, 4):
            aside = folder / f"checkpoint_round_{number}.{kind}.rolledback-1"
            aside.rename(folder / f"checkpoint_round_{number}.{kind}")
    with CheckpointStore(folder) as store:
        assert same(store.latest(), make(4, size=1))
        assert store.metrics_problem(4) is None


def test_lines_after_the_manifests_own_are_left_alone(folder, make, same):
    """A crash during a commit leaves a line, or a part of one, that no manifest names."""
    whole, _ = render_line(5, accuracy(5), before=Position(), begin=(folder / NAME).stat().st_size)
    for tail in (whole, whole[:20], b"\0" * 50, b"\xff\n{}\n[" + b"[" * 5000):
        with (folder / NAME).open("ab") as file:
            file.write(tail)
        with CheckpointStore(folder) as store:
            assert same(store.latest(), make(4, size=1))
            store.save(make(5, size=1, fill=0.5))
            assert same(store.latest(), make(5, size=1, fill=0.5))
            assert store.metrics_problem(5) is None
            store.rollback(4)


def test_every_flipped_byte_is_detected_and_loses_only_its_own_line(folder, make, count):
    """The model loads, the other lines are kept, and the next save verifies again."""
    whole = (folder / NAME).read_bytes()
    reader = CheckpointReader(folder)
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1
        (folder / NAME).write_bytes(flipped)
        count("bytes of the history flipped")
        reader._read_history = None
        assert NAME in reader.metrics_problem(4)
        found = reader.load(4).metrics["central"]
        good = make(4).metrics["central"]
        assert found.items() <= good.items()
        line = whole[:position].count(b"\n")
        if position < len(whole) - 80:  # the manifest names the SHA-256 of the last line, which all hangs on
            assert set(good) - set(found) <= {str(line + 1), str(line + 2)}
        assert "4" in found


@pytest.mark.parametrize("damage", ["flip", "cut", "missing", "folder", "foreign"])
def test_damaged_metrics_are_named_and_the_model_resumes(folder, damage, make, caplog, count):
    path = folder / NAME
    match damage:
        case "flip":
            path.write_bytes(path.read_bytes().replace(b"accuracy", b"Accuracy", 1))
        case "cut":
            path.write_bytes(path.read_bytes()[:100])
        case "foreign":
            path.write_bytes(render_line(1, accuracy(1), before=BEGINNING, begin=0)[0])
        case _:
            path.unlink()
            if damage == "folder":
                path.mkdir()
    count("files spoiled or swapped")
    with CheckpointStore(folder, retention=retention_of(2)) as store, caplog.at_level(logging.WARNING):
        newest = store.latest()
        assert newest.arrays["fc.bias"].tobytes() == make(4, size=1).arrays["fc.bias"].tobytes()
        assert newest.metrics["central"]["4"] == {"accuracy": 0.04, "loss": 0.25}
        assert "metrics damaged, the model is good round=4" in caplog.text
        assert NAME in caplog.text
        assert NAME in store.metrics_problem(4)
        store.verify(4)
        best = store.best()
        assert (best.round, best.metric.text) == (4, "central accuracy")
        store.save(make(5, size=1, metrics=accuracy(5)))
        assert store.metrics_problem(5) is None
        assert {"4", "5"} <= set(store.latest().metrics["central"])
    assert not list(folder.glob("*.npz.damaged*"))


def test_the_best_round_is_known_even_if_its_metrics_are_lost(scratch, make):
    metrics = {"evaluate": {"1": {"eval_acc": 0.9}, "2": {"eval_acc": 0.5}, "3": {"eval_acc": 0.4}}}
    root = scratch / "c"
    with CheckpointStore(root, retention=retention_of(2)) as store:
        for number in (1, 2, 3, 4):
            store.save(make(number, size=1, metrics=metrics))
    (root / NAME).unlink()
    with CheckpointStore(root, retention=retention_of(2)) as store:
        for number in (5, 6):
            store.save(make(number, size=1, metrics={"evaluate": {str(number): {"eval_acc": 0.1}}}))
        assert store.rounds() == (1, 5, 6)
    assert (root / "checkpoint_best.npz").readlink().name == "checkpoint_round_1.npz"


def test_starting_afresh_sets_the_history_aside_and_renaming_back_undoes_it(folder, make, same):
    with CheckpointStore(folder) as store:
        store.start_afresh()
        assert not (folder / NAME).exists()
        assert f"{NAME}.superseded-1" in store.set_aside()
        store.save(make(1, size=1, fill=0.5, metrics=accuracy(1)))
        assert store.latest().metrics == accuracy(1)
    shutil.rmtree(folder.with_name("again"), ignore_errors=True)
    again = folder.with_name("again")
    again.mkdir()
    for path in folder.glob("*.superseded-1"):
        shutil.copy(path, again / path.name.removesuffix(".superseded-1"))
    assert same(CheckpointReader(again).latest(), make(4, size=1))


def test_the_last_client_evaluation_is_recorded_and_used_by_a_resume(folder, make):
    measured = {"evaluate": {"4": {"eval_acc": 0.5}, "5": {"eval_acc": 0.9}}}
    with CheckpointStore(folder) as store:
        assert store.recorded() == {"central": 4}
        store.note(measured)
        store.note(measured)
        assert store.recorded() == {"central": 4, "evaluate": 4}
        assert store.latest().metrics["evaluate"] == {"4": {"eval_acc": 0.5}}
        assert len(lines(folder)) == 5
    assert CheckpointReader(folder).latest().metrics["evaluate"] == {"4": {"eval_acc": 0.5}}
    assert "evaluate" not in CheckpointReader(folder).load(3).metrics


def test_nothing_is_recorded_in_a_folder_without_a_checkpoint(root):
    with CheckpointStore(root) as store:
        store.note(accuracy(1))
        assert store.recorded() == {}
        assert not (root / NAME).exists()


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        ({"central": {"5": {"confusion": [[5, 1], [0, 4]]}}}, "metric 'confusion' as list"),
        ({"central": {"5": {"note": "good"}}}, "metric 'note' as str"),
        ({"central": {"five": {"accuracy": 1}}}, "metrics of round 'five'"),
        ({"central": {"5": 0.5}}, "phase 'central' of round 5 returned float"),
        ({"central": 3}, "metrics of phase 'central' are 3"),
    ],
)
def test_metrics_that_could_not_be_read_back_are_refused_and_nothing_is_written(
    folder, make, same, metrics, says
):
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with CheckpointStore(folder) as store:
        with pytest.raises(AppError, match=says):
            store.save(make(5, size=1, metrics=metrics))
        assert same(store.latest(), make(4, size=1))
        assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
        store.save(make(5, size=1))
        assert same(store.latest(), make(5, size=1))


class Garbling(OsFiles):
    """A disk that writes other bytes than it was given, into one kind of file."""

    def __init__(self, ending, change):
        self.ending, self.change, self.garbled = ending, change, None

    def create(self, path):
        return self._noted(path, super().create(path))

    def append(self, path):
        return self._noted(path, super().append(path))

    def _noted(self, path, descriptor):
        if path.name.removesuffix(".tmp").endswith(self.ending):
            self.garbled = descriptor
        return descriptor

    def close(self, descriptor):
        super().close(descriptor)
        self.garbled = None

    def write(self, descriptor, data):
        if descriptor != self.garbled:
            return super().write(descriptor, data)
        super().write(descriptor, memoryview(self.change(bytes(data))))
        return len(data)


@pytest.mark.parametrize(
    ("ending", "change"),
    [
        ("5.json", lambda data: data.replace(b'"round": 5', b'"round": 6')),
        ("5.json", lambda data: data[:-2]),
        ("history.jsonl", lambda data: data.replace(b"accuracy", b"Accuracy")),
        ("history.jsonl", lambda data: data[:-1]),
        ("history.jsonl", lambda data: b""),
        ("5.npz", lambda data: data[:-1]),
        ("5.npz", lambda data: data.replace(b"fc.bias", b"fc.Bias")),
        ("5.npz", lambda data: data.replace(b"NUMPY", b"NUMPX")),
        ("5.state.npz", lambda data: data.replace(b"'<f8'", b"'<f4'")),
    ],
)
def test_what_cannot_be_read_back_is_not_committed(folder, make, same, ending, change):
    disk = Garbling(ending, change)
    with CheckpointStore(folder, files=disk) as store:
        with pytest.raises(
            CheckpointError, match=r"cannot be read back after it was written: .*Nothing was committed"
        ):
            store.save(make(5, size=1))
        assert same(store.latest(), make(4, size=1))
        assert store.rounds() == (1, 2, 3, 4)
        disk.ending = "nothing"
        store.save(make(5, size=1))
        assert same(store.latest(), make(5, size=1))
        assert store.metrics_problem(5) is None


def another_model(data):
    content = {key: value for key, value in json.loads(data).items() if key != SELF}
    content["files"]["model"]["sha256"] = "0" * 64
    return render(content)


def test_a_whole_manifest_or_line_that_is_not_the_one_written_is_not_committed(folder, make, same):
    """The disk returns content that is valid in itself."""

    def another_line(data):
        before = Position(
            size_bytes=(folder / NAME).stat().st_size, sha256=json.loads(lines(folder)[-1])["sha256"]
        )
        other = {"central": {"5": {"accuracy": 0.07}}}
        line, _ = render_line(5, other, before=before, begin=before.size_bytes)
        assert len(line) == len(data)
        return line

    for ending, change in (("history.jsonl", another_line), ("5.json", another_model)):
        with CheckpointStore(folder, files=Garbling(ending, change)) as store:
            with pytest.raises(CheckpointError, match="cannot be read back after it was written"):
                store.save(make(5, size=1, metrics=accuracy(5)))
            assert same(store.latest(), make(4, size=1))


def test_metrics_that_flower_cannot_hold_are_not_accepted_from_a_line_or_a_manifest(folder):
    """A reader that accepted them would fail later with an unrelated error."""
    matrix = {"central": {"4": {"confusion": [[5, 1], [0, 4]]}}}
    line, _ = render_line(4, matrix, before=BEGINNING, begin=0)
    assert "metric 'confusion'" in line_problem(line, before=BEGINNING, begin=0)
    path = folder / "checkpoint_round_4.json"
    content = {key: value for key, value in json.loads(path.read_bytes()).items() if key != SELF}
    path.write_bytes(render(content | {"metrics": matrix}))
    with pytest.raises(CheckpointError, match="metric 'confusion'"):
        CheckpointReader(folder).load(4)


def test_metrics_of_another_training_with_the_same_sizes_are_not_used(folder, scratch, make):
    """Their lines are valid and end where the manifest says; only the SHA-256 differs."""
    with CheckpointStore(scratch / "other") as store:
        for number in (1, 2, 3, 4):
            metrics = {"central": {str(n): {"accuracy": (n + 4) / 100, "loss": 1 / n} for n in (1, 2, 3, 4)}}
            store.save(make(number, size=1, metrics=metrics))
    shutil.copy(scratch / "other" / NAME, folder / NAME)
    reader = CheckpointReader(folder)
    assert "no line that ends at byte" in reader.metrics_problem(4)
    assert reader.load(4).metrics == {"central": {"4": make(4).metrics["central"]["4"]}}


def test_a_history_removed_between_saves_is_created_again(folder, make):
    with CheckpointStore(folder) as store:
        store.save(make(5, size=1))
        (folder / NAME).unlink()
        store.save(make(6, size=1, metrics=accuracy(6)))
        assert store.metrics_problem(6) is None
        assert {"5", "6"} <= set(store.latest().metrics["central"])


def test_a_manifest_that_names_another_file_as_its_history_is_refused(folder):
    path = folder / "checkpoint_round_4.json"
    content = {key: value for key, value in json.loads(path.read_bytes()).items() if key != SELF}
    content["history"]["name"] = "../elsewhere"
    path.write_bytes(render(content))
    with pytest.raises(CheckpointError, match="names a history other than"):
        CheckpointReader(folder).load(4)


def test_a_line_is_checked_by_the_parser_of_the_reader():
    line, end = render_line(1, accuracy(1), before=BEGINNING, begin=0)
    follower, _ = render_line(2, accuracy(2), before=end, begin=len(line))
    assert line_problem(line, before=BEGINNING, begin=0) is None
    assert line_problem(follower, before=end, begin=len(line)) is None
    assert "SHA-256" in line_problem(
        follower, before=Position(size_bytes=len(line), sha256="0" * 64), begin=len(line)
    )
    assert line_problem(line[:-1], before=BEGINNING, begin=0) == "is cut short"


@pytest.mark.parametrize(
    "text",
    [b"", b"\n", b"{}\n", b"[" * 9999 + b"\n", b'{"after": [], "sha256": "' + b"0" * 64 + b'"}\n', b"\xff\n"],
)
def test_any_file_content_is_parsed_without_an_error(text):
    history = parse_history(text)
    assert all(line.problem for line in history.lines.values())
    assert history.until(Position(size_bytes=len(text), sha256="x")).metrics == {}
