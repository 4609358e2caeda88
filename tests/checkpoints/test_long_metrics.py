"""Whatever an app measures: every save succeeds, and its numbers are read again by the next run."""

import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oneflower.bounded_json import Bounds
from oneflower.checkpoints import CheckpointReader, CheckpointStore, history
from oneflower.checkpoints.entry import Room, entry_of
from oneflower.checkpoints.history import BEGINNING, merged, parse_history, render_line
from oneflower.checkpoints.portions import without_lists
from oneflower.errors import CheckpointError
from oneflower.quality import Wanted

from .test_history import Garbling

NAME = "checkpoint_history.jsonl"


def measured(number, length, **more):
    """Return what an app measures in a round: its loss, and a list."""
    return {str(number): {"loss": 1 / number, "per_class": [0.5] * length, **more}}


def losses(metrics):
    return {number: named["loss"] for number, named in metrics["central"].items()}


def numbered(text):
    return [line for line in text.split(b"\n") if line]


def test_rounds_that_do_not_fit_in_one_line_are_divided(root, make):
    """FL_CHECKPOINT_INTERVAL=20 with 60,000 values a round."""
    metrics = {"central": {}, "train": {}}
    for number in range(1, 21):
        metrics["central"] |= measured(number, 60_000)
        metrics["train"] |= {str(number): {"loss": 0.5}}
    with CheckpointStore(root) as store:
        store.save(make(20, size=1, metrics=metrics))
        store.save(make(21, size=1, metrics={"central": measured(21, 60_000)}))
    reader = CheckpointReader(root)
    assert len(numbered((root / NAME).read_bytes())) == 3
    assert reader.metrics_problem(20) is None
    assert reader.load(20).metrics == metrics
    assert reader.load(21).metrics["central"]["21"] == measured(21, 60_000)["21"]


@pytest.fixture
def past_the_bound(root, make, monkeypatch):
    """Return a folder whose lists together have more values than are kept."""
    monkeypatch.setattr(history, "MOST_VALUES", 2000)
    with CheckpointStore(root) as store:
        for number in range(1, 31):
            store.save(make(number, size=1, metrics={"central": measured(number, 100)}))
    return root


def test_numbers_of_all_rounds_are_read_and_the_newest_lists(past_the_bound, make, caplog):
    reader = CheckpointReader(past_the_bound)
    with caplog.at_level(logging.WARNING):
        read = reader.load(30).metrics
    assert losses(read) == {str(number): 1 / number for number in range(1, 31)}
    kept = [int(number) for number, named in read["central"].items() if "per_class" in named]
    assert kept == list(range(12, 31))
    assert "old lists of metrics left out" in caplog.text
    assert reader.metrics_problem(30) is None
    with CheckpointStore(past_the_bound) as store:
        assert store.recorded() == {"central": 30}
        assert store.best().round == 30
        store.save(make(31, size=1, metrics={"central": measured(31, 100)}))
        assert len(losses(store.latest().metrics)) == 31
    assert not CheckpointReader(past_the_bound).set_aside()


def test_a_list_that_fits_in_no_line_is_left_out_with_one_warning(root, make, caplog):
    with CheckpointStore(root) as store, caplog.at_level(logging.WARNING):
        for number in (1, 2):
            metrics = {"central": measured(number, 1_100_000, short=[1, 2])}
            store.save(make(number, size=1, metrics=metrics))
    named = CheckpointReader(root).load(2).metrics["central"]
    assert named == {str(number): {"loss": 1 / number, "short": [1, 2]} for number in (1, 2)}
    assert CheckpointReader(root).metrics_problem(2) is None
    warnings = [text for text in caplog.messages if "left out of the history" in text]
    assert len(warnings) == 1
    assert "central per_class" in warnings[0]


@pytest.mark.parametrize("values", [200_000, 900_000])
def test_a_list_that_only_a_line_holds_is_not_in_the_manifest(root, make, values):
    with CheckpointStore(root) as store:
        store.save(make(1, size=1, metrics={"central": measured(1, values)}))
    assert len(CheckpointReader(root).load(1).metrics["central"]["1"]["per_class"]) == values
    assert (root / "checkpoint_round_1.json").stat().st_size < 10_000


@pytest.mark.parametrize("wanted", ["", "class_3"])
def test_more_numbers_than_are_read_stop_no_save_and_leave_what_decides(
    root, make, monkeypatch, caplog, wanted
):
    monkeypatch.setattr(history, "MOST_VALUES", 200)
    for number in range(1, 31):
        with CheckpointStore(root, wanted=Wanted.parse(wanted)) as store:
            many = {f"class_{each}": number / 100 for each in range(8)} | {"val_acc": number / 100}
            store.save(make(number, size=1, metrics={"central": {str(number): many}}))
            assert store.latest().round == number
            assert store.best().round == number
    assert CheckpointReader(root).metrics_problem(30) is None
    read = CheckpointReader(root).load(30).metrics["central"]
    assert [named[wanted or "val_acc"] for named in read.values()] == [n / 100 for n in range(1, 31)]
    assert [len(named) for named in read.values()] == [9] * 10 + [1] * 19 + [9]
    assert not CheckpointReader(root).set_aside()
    assert "metrics left out of the history round=30 metrics=central class_0" in caplog.text


@pytest.mark.parametrize("bound", ["LARGEST", "MOST_LINES", "MOST_VALUES"])
def test_a_full_history_stops_no_save_and_stays_readable(root, make, monkeypatch, bound):
    monkeypatch.setattr(history, bound, {"LARGEST": 20_000, "MOST_LINES": 50, "MOST_VALUES": 300}[bound])
    for number in range(1, 151):
        with CheckpointStore(root) as store:
            store.save(make(number, size=1, state=False, metrics={"central": measured(number, 200)}))
    assert CheckpointReader(root).metrics_problem(150) is None
    read = CheckpointReader(root).load(150).metrics["central"]
    assert 50 < len(read) < 150
    assert read["150"] == measured(150, 200)["150"]
    assert not CheckpointReader(root).set_aside()
    assert parse_history((root / NAME).read_bytes()).numbers <= history.MOST_VALUES
    assert (root / NAME).stat().st_size <= history.LARGEST


def test_a_line_that_an_earlier_release_wrote_is_read_without_its_long_lists(root, make):
    metrics = {}
    for number in range(1, 21):
        metrics |= measured(number, 60_000)
    with CheckpointStore(root) as store:
        store.save(make(20, size=1, metrics={"central": measured(20, 60_000)}))
    line, _ = render_line(20, {"central": metrics}, before=BEGINNING, begin=0)
    read = parse_history(line).lines[len(line)]
    assert read.problem is None
    assert read.whole
    assert losses(read.metrics) == {str(number): 1 / number for number in range(1, 21)}


@pytest.mark.parametrize(
    ("ending", "change"),
    [("history.jsonl", lambda data: data[:-1]), ("5.json", lambda data: data[:-2])],
)
def test_a_save_that_fails_leaves_the_history_as_it_was(root, make, ending, change):
    with CheckpointStore(root) as store:
        store.save(make(4, size=1))
    before = (root / NAME).read_bytes()
    disk = Garbling(ending, change)
    with CheckpointStore(root, files=disk) as store:
        for _ in range(3):
            with pytest.raises(CheckpointError, match="cannot be read back"):
                store.save(make(5, size=1))
            assert (root / NAME).read_bytes() == before
        disk.ending = "nothing"
        store.save(make(5, size=1))
    assert (root / NAME).read_bytes().startswith(before)
    assert CheckpointReader(root).metrics_problem(5) is None


AUTOMATIC = Wanted.parse("")
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats()
NAMES = st.text(max_size=8)
METRICS = st.dictionaries(
    st.sampled_from(["train", "evaluate", "central"]),
    st.dictionaries(
        st.integers(0, 30).map(str),
        st.dictionaries(NAMES, NUMBERS | st.lists(st.integers(0, 9), max_size=60), max_size=5),
        max_size=4,
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(saves=st.lists(METRICS, max_size=4), torn=st.booleans())
def test_what_is_written_is_always_read(monkeypatch, saves, torn):
    """With bounds so small that all of them are met."""
    monkeypatch.setattr(history, "LINE", Bounds(most_bytes=1500, most_values=60, most_depth=8))
    monkeypatch.setattr(history, "LARGEST", 6000)
    monkeypatch.setattr(history, "MOST_VALUES", 100)
    data, before = b"", BEGINNING
    for number, metrics in enumerate(saves):
        if torn:
            data += b"torn"
        known = parse_history(data)
        entry = entry_of(
            number, metrics, before=before, room=Room.of(known), ended=known.ended, wanted=AUTOMATIC
        )
        data, before = data + entry.data, entry.position
        found = parse_history(data)
        assert found.problem(before) is None
        if entry.lines:
            assert before.size_bytes == len(data) == entry.room.size_bytes
            assert entry.room == Room.of(found)
        read = merged([line.metrics for line in found.lines.values() if line.begin >= entry.begin])
        everything = without_lists(metrics)
        left = {name.split(" ", 1)[0] for name in entry.left_out}
        for phase, rounds in without_lists(read).items():
            for each, named in rounds.items():
                assert repr(named) == repr({n: everything[phase][each][n] for n in named})
                assert phase in left or named.keys() == everything[phase][each].keys()
