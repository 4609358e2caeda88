"""Each client's GPUs are reported once a round, and another kind of device after a resume is named."""

import json

import pytest

from oneflower.flower.app_gpus import GPU_VARIABLE
from oneflower.flower.calls.used_device import note_device
from oneflower.flower.client_mark import ClientMark
from oneflower.gpu.readings import Reading
from oneflower.training.devices import (
    DEVICES,
    MOST_KINDS,
    MOST_NAMED,
    MOST_PARTITIONS,
    UNNAMED,
    Devices,
    kinds_of,
    with_trained,
)

from ..federation import Federation, local_update, numpy_app
from .test_training import digest, events

H200, A10 = "NVIDIA H200", "NVIDIA A10"


@pytest.fixture
def federation(tmp_path, monkeypatch):
    monkeypatch.setenv(GPU_VARIABLE, "YES")
    return Federation(folder=tmp_path / "a")


def app_on(*devices):
    """Return an app whose partition i trains on the device i."""

    def update(message, context):
        note_device(devices[context.node_config["partition-id"]])
        return local_update(message, context)

    return numpy_app(update)


def newest_notes(federation):
    manifests = [json.loads(path.read_text()) for path in federation.folder.rglob("*.json")]
    return max((each for each in manifests if "notes" in each), key=lambda each: each["round"])["notes"]


def changes(federation):
    return [(each.round, each.clients, each.reason) for each in events(federation, "device_changed")]


def test_a_client_is_reported_once_a_round(federation):
    federation.app = app_on(H200, "cpu", "")
    federation.train(num_server_rounds=2)
    seen = [(each.round, each.device) for each in events(federation, "gpu_seen")]
    assert sorted(seen) == [(1, H200), (1, "cpu"), (2, H200), (2, "cpu")]
    assert newest_notes(federation)[DEVICES] == {H200: [0], "cpu": [1]}


def test_the_same_kinds_after_a_resume_are_not_remarked_on(federation):
    federation.app = app_on(H200, "cpu", "")
    federation.train(num_server_rounds=2)
    federation.train(num_server_rounds=4)
    assert changes(federation) == []


def test_another_kind_after_a_resume_is_said_once(federation, caplog):
    federation.app = app_on(H200, H200, "cpu")
    federation.train(num_server_rounds=2)
    federation.app = app_on(A10, A10, "cpu")
    federation.train(num_server_rounds=5)
    reason = (
        "trained on NVIDIA H200 before, on NVIDIA A10 now: bytes may differ from an uninterrupted training"
    )
    assert changes(federation) == [(3, 2, reason)]
    assert caplog.text.count("clients train on another kind of device") == 1
    assert newest_notes(federation)[DEVICES] == {A10: [0, 1], H200: [0, 1], "cpu": [2]}


def test_a_gpu_that_is_gone_after_a_resume_is_said(federation, monkeypatch):
    federation.app = app_on(H200, H200, "cpu")
    federation.train(num_server_rounds=2)
    monkeypatch.delenv(GPU_VARIABLE)  # FL_GPU_ENABLED=NO
    federation.train(num_server_rounds=3)
    ((number, clients, reason),) = changes(federation)
    assert (number, clients) == (3, 2)
    assert f"on NVIDIA H200 before, on {UNNAMED} now" in reason


def test_a_checkpoint_of_a_training_without_gpus_resumes_and_gpus_are_said(federation, monkeypatch):
    monkeypatch.delenv(GPU_VARIABLE)
    federation.app = app_on(H200, H200, H200)
    federation.train(num_server_rounds=2)
    assert DEVICES not in newest_notes(federation)
    monkeypatch.setenv(GPU_VARIABLE, "YES")
    federation.train(num_server_rounds=3)
    ((number, clients, reason),) = changes(federation)
    assert (number, clients) == (3, 3)
    assert f"on {UNNAMED} before, on NVIDIA H200 now" in reason


def test_without_gpus_the_checkpoints_are_as_before(federation, monkeypatch, tmp_path):
    noted = federation.train(num_server_rounds=2)
    monkeypatch.delenv(GPU_VARIABLE)
    plain = Federation(folder=tmp_path / "b", app=app_on("cpu", "cpu", "cpu"))
    assert digest(plain.train(num_server_rounds=2)) == digest(noted)
    by_name = {**newest_notes(federation), "training": newest_notes(plain)["training"]}
    assert newest_notes(plain) == by_name
    assert DEVICES not in by_name
    assert not events(plain, "gpu_seen")


def test_what_the_devices_are_changes_no_model(federation, tmp_path):
    federation.app = app_on(H200, A10, "cpu")
    other = Federation(folder=tmp_path / "b", app=app_on("cpu", "cpu", "cpu"))
    assert digest(federation.train()) == digest(other.train())


# --- a client may claim anything ------------------------------------------------------------------


def mark(partition=0, device=H200, **fields):
    return ClientMark(partition=partition, device=device, **fields)


def reply(devices, node, *, trained=True, number=1, **fields):
    """Let a node answer, as the server takes it up."""
    said = mark(**fields)
    devices.take(said, trained=trained)
    devices.seen(number, str(node), said)


def resumed(notes):
    devices = Devices()
    devices.resumed(notes)
    return devices


def test_an_error_and_an_evaluation_do_not_count_as_training():
    devices = Devices()
    reply(devices, 7, trained=False)
    reply(devices, 7, partition=None)
    assert devices.trained == {}
    reply(devices, 7)
    assert devices.trained == {"7": (0, H200)}


def test_one_client_fills_the_kinds_of_no_other():
    devices, notes = Devices(), {}
    for number in range(1, 100):
        reply(devices, "evil", number=number, partition=number, device=f"kind {number}")
        reply(devices, "liar", number=number, partition=5000, device=f"other {number}")
        devices.remark(notes, number, 100)
    reply(devices, "honest", partition=0)
    devices.remark(notes, 100, 100)
    assert notes[DEVICES] == {H200: [0], "kind 1": [1], "other 1": [5000], "other 2": [5000]}
    devices = resumed(notes)
    reply(devices, "honest", partition=0, device=A10)
    assert f"on {H200} before, on {A10} now" in devices.remark(notes, 101, 200).reason


def test_who_names_the_partition_of_another_does_not_hide_its_change():
    devices, notes = resumed({DEVICES: {H200: [0]}}), {}
    reply(devices, "honest", partition=0, device=A10)
    reply(devices, "evil", partition=0, device=H200)
    assert (changed := devices.remark(notes, 3, 9)) is not None
    assert (changed.clients, f"on {A10} now" in changed.reason) == (1, True)
    devices = resumed({DEVICES: {H200: [0]}})
    reply(devices, "evil", partition=0, device="first")
    assert devices.remark(notes, 3, 9) is not None
    reply(devices, "honest", number=4, partition=0, device=A10)
    assert f"on {A10} now" in devices.remark(notes, 4, 9).reason


@pytest.mark.parametrize("before", [{}, {DEVICES: {H200: list(range(300))}}])
def test_one_client_causes_one_event_whatever_it_says_each_round(before):
    devices, found = resumed(before), []
    for number in range(1, 201):
        reply(devices, "evil", number=number, partition=number, device=f"kind {number}")
        reply(devices, "liar", number=number, partition=0, device=f"kind {number}")
        found.append(devices.remark({}, number, 200))
    assert [each.clients for each in found if each] == [2]


def test_a_client_that_is_started_again_after_a_resume_is_named_once():
    devices = resumed({DEVICES: {H200: [0]}})
    reply(devices, 1, device=A10)
    assert devices.remark({}, 1, 9) is not None
    reply(devices, 2, number=2, device=A10)
    assert devices.remark({}, 2, 9) is None


def test_kinds_are_bounded_by_client_and_in_all():
    kinds = {}
    for number in range(100):
        kinds = with_trained(kinds, [(0, f"kind {number}"), (number + 1, f"own {number}")])
    assert len(kinds) == MOST_KINDS
    assert sum(0 in partitions for partitions in kinds.values()) <= 2


def test_kinds_of_one_client_give_way_to_a_new_one():
    """A client that names another kind, and another partition, after each resume shuts nobody out."""
    kinds = {f"kind {number}": {number} for number in range(MOST_KINDS - 1)} | {A10: {50, 51}}
    kinds = with_trained(kinds, [(90, H200), (91, H200)])
    assert kinds[H200] == {90, 91}
    assert kinds[A10] == {50, 51}
    assert len(kinds) == MOST_KINDS


def test_a_kind_of_many_clients_does_not_give_way():
    kinds = {f"kind {number}": {number, number + 100} for number in range(MOST_KINDS)}
    assert with_trained(kinds, [(90, H200)]) == kinds


def test_of_many_kinds_those_of_the_most_clients_are_noted():
    rare = [(partition, f"kind {partition}") for partition in range(20)]
    assert with_trained({}, [*rare, (90, H200), (91, H200)])[H200] == {90, 91}


def test_a_sentence_names_few_kinds_and_there_is_one_a_round():
    devices, notes = Devices(), {DEVICES: {H200: list(range(1000))}}
    devices.resumed(notes)
    for partition in range(3000):
        reply(devices, partition, partition=partition, device=f"{'x' * 50}-{partition}")
    assert len(devices.trained) == MOST_PARTITIONS
    changed = devices.remark(notes, 3, 9)
    assert changed.clients == 1000
    assert changed.reason.count(" now") == MOST_NAMED
    assert "996 more changes" in changed.reason
    assert len(changed.reason) < 1000
    assert len(notes[DEVICES]) <= MOST_KINDS
    for partition in range(1000):
        reply(devices, partition, partition=partition, device="again another")
    assert devices.remark(notes, 4, 9) is None


def test_a_client_that_is_new_after_a_resume_has_changed_nothing():
    devices, notes = Devices(), {DEVICES: {H200: [0]}}
    devices.resumed(notes)
    reply(devices, 1, partition=7, device=A10)
    assert devices.remark(notes, 3, 9) is None
    assert notes[DEVICES] == {A10: [7], H200: [0]}


@pytest.mark.parametrize("noted", [None, 7, [], {"": [1]}, {"a\n": [1]}, {H200: 7}, {7: [1]}])
def test_notes_that_are_none_are_read_as_none(noted):
    assert kinds_of(noted) == {}


def test_of_notes_what_is_valid_counts():
    assert kinds_of({H200: [1, "2", True, None, 3]}) == {H200: {1, 3}}


def test_the_readings_of_an_error_are_reported_if_it_has_any():
    devices = Devices()
    assert devices.seen(1, "7", ClientMark(name="a")) is None
    failed = mark(gpus=(Reading(index=0, xids={79: 1}),))
    assert devices.seen(1, "7", failed).gpus[0].xids == {79: 1}
    assert devices.seen(1, "7", failed) is None
    assert devices.seen(2, "7", failed) is not None
