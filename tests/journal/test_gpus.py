"""What the GPUs of a client measured is kept, bounded, under a label that no other client gets."""

import json

import pytest

from oneflower.gpu.readings import MOST_GPUS, MOST_XIDS, Reading
from oneflower.journal import reduce
from oneflower.journal.codec import entry_of, record_of
from oneflower.journal.events import BrokenEvent, GpuSeen
from oneflower.journal.rotation import OF_CLIENTS

from ..making import entry

GPU = Reading(index=0, name="NVIDIA H200", utilisation=0.9, temperature_c=60.0)
OLD, NEW, OTHER = "1111111111", "2222222222", "3333333333"


def seen(client, *gpus, number=1, device="NVIDIA H200"):
    return entry("gpu_seen", round=number, client=client, device=device, gpus=gpus)


def named(client, name="edge-7", partition=None):
    return [
        entry("client_joined", client=client),
        entry("client_named", client=client, name=name, partition=partition),
    ]


def gpus_of(entries, client):
    return reduce(entries).roster[client].gpus


def test_the_last_reading_of_each_gpu_is_kept_and_xid_errors_are_summed():
    first = Reading(index=0, utilisation=0.1, xids={31: 2}), Reading(index=1)
    last = Reading(index=0, utilisation=0.7, xids={31: 1, 79: 1})
    found = gpus_of([seen(OLD, *first), seen(OLD, last, number=2)], OLD)
    assert list(found.readings) == ["0"]
    assert (found.readings["0"].utilisation, found.round, found.device) == (0.7, 2, "NVIDIA H200")
    assert found.xids == {"0": {31: 3, 79: 1}}


def test_an_error_that_names_a_gpu_leaves_what_was_measured_before():
    found = gpus_of(
        [seen(OLD, GPU), seen(OLD, Reading(index=0, name=GPU.name, xids={79: 1}), device="")], OLD
    )
    assert found.readings == {"0": GPU}
    assert found.xids == {"0": {79: 1}}
    assert found.device == "NVIDIA H200"


def test_a_reply_without_readings_says_that_they_cannot_be_read_any_more():
    found = gpus_of([seen(OLD, GPU), seen(OLD, device="cpu")], OLD)
    assert (found.readings, found.on_processor) == ({}, True)


def test_two_clients_of_one_name_have_their_own_series():
    entries = [*named(OLD), seen(OLD, GPU), *named(NEW), seen(NEW, GPU), *named(OTHER), seen(OTHER, GPU)]
    roster = reduce(entries).roster
    assert [each.gpus.series for each in roster.values()] == ["edge-7", "edge-7/222222", "edge-7/333333"]


def test_a_client_that_renames_itself_keeps_its_series_and_takes_no_other():
    entries = [*named(OLD), seen(OLD, GPU), *named(NEW, "other"), seen(NEW, GPU)]
    entries += [*named(NEW, "edge-7"), seen(NEW, GPU, number=2)]
    roster = reduce(entries).roster
    assert (roster[OLD].gpus.series, roster[NEW].gpus.series) == ("edge-7", "other")


def test_a_restarted_client_goes_on_with_its_series_and_its_errors_and_without_old_readings():
    entries = [*named(OLD), seen(OLD, Reading(index=0, utilisation=0.5, xids={31: 1}))]
    entries += [entry("client_left", client=OLD), *named(NEW)]
    found = gpus_of(entries, NEW)
    assert (found.series, found.readings, found.xids, found.device) == ("edge-7", {}, {"0": {31: 1}}, "")
    found = gpus_of([*entries, seen(NEW, Reading(index=0, xids={31: 2}))], NEW)
    assert (found.series, found.xids) == ("edge-7", {"0": {31: 3}})


def test_a_client_that_is_back_before_its_old_id_is_gone_goes_on_with_its_series_if_it_has_none():
    entries = [*named(OLD), seen(OLD, Reading(index=0, xids={31: 1})), *named(NEW)]
    found = gpus_of([*entries, entry("client_left", client=OLD)], NEW)
    assert (found.series, found.readings, found.xids) == ("edge-7", {}, {"0": {31: 1}})
    found = gpus_of([*entries, seen(NEW, GPU), entry("client_left", client=OLD)], NEW)
    assert (found.series, found.readings, found.xids) == ("edge-7/222222", {"0": GPU}, {})


@pytest.mark.parametrize("has_series", [True, False])
@pytest.mark.parametrize("leaves_first", [True, False])
def test_who_takes_the_name_of_a_client_that_is_gone_takes_neither_its_series_nor_its_errors(
    has_series, leaves_first
):
    entries = [*named(OLD, partition=0), seen(OLD, Reading(index=0, xids={79: 7})), *named(NEW, "evil", 1)]
    entries += [seen(NEW, Reading(index=0, xids={31: 1}))] if has_series else []
    left, renamed = [entry("client_left", client=OLD)], named(NEW, partition=0)
    entries += left + renamed if leaves_first else renamed + left
    roster = reduce([*entries, seen(NEW, Reading(index=0, temperature_c=98.0), number=2)]).roster
    assert roster[NEW].gpus.series == ("evil" if has_series else "edge-7/222222")
    assert roster[NEW].gpus.xids == ({"0": {31: 1}} if has_series else {})
    found = gpus_of([*entries, *named(OTHER, partition=0), seen(OTHER, GPU, number=3)], OTHER)
    assert (found.series, found.xids) == ("edge-7", {"0": {79: 7}}), "the one that was gone is back"


def test_a_client_that_had_a_suffix_while_its_old_id_was_here_goes_on_as_it():
    entries = [*named(OLD, partition=3), seen(OLD, GPU), *named(NEW, "edge-7/3", 3)]
    roster = reduce([*entries, entry("client_left", client=OLD), *named(NEW, partition=3)]).roster
    assert (list(roster), roster[NEW].gpus.series) == ([NEW], "edge-7")


def test_a_series_is_given_once_as_it_is_shown():
    names = {OLD: "a\n", "41": "a\\n", "42": "b", "43": "b/44", "45": "b/44/2", "44": "b"}
    entries = [each for client, name in names.items() for each in (*named(client, name), seen(client, GPU))]
    found = [each.gpus.series for each in reduce(entries).roster.values()]
    assert found == ["a\\n", "a\\n/41", "b", "b/44", "b/44/2", "b/44/3"]


def test_a_new_client_costs_the_same_whatever_the_number_of_clients():
    calls = []

    class Counting(dict):
        def __iter__(self):
            calls.append("all")
            return super().__iter__()

        def values(self):
            calls.append("all")
            return super().values()

    state = reduce([*named(OLD), seen(OLD, GPU)])
    state.roster, state.gpu_series = Counting(state.roster), Counting(state.gpu_series)
    for number in range(200):
        state.take(seen(f"{number:010d}", GPU))
    assert len(state.gpu_series) == 201
    assert calls == []


def test_a_training_from_the_beginning_gives_its_series_out_again():
    began, done = entry("training_started", rounds=1), entry("training_finished", rounds=1)
    state = reduce([began, *named(OLD), seen(OLD, GPU), done, began, *named(NEW), seen(NEW, GPU)])
    assert state.roster[NEW].gpus.series == "edge-7"


def test_what_a_client_sends_for_ever_stays_bounded():
    entries = [
        seen(
            OLD,
            *(
                Reading(index=index, xids={number: 1, number + 1: 2**20})
                for index in range(number, number + 9)
            ),
        )
        for number in range(1, 300, 7)
    ]
    found = gpus_of(entries, OLD)
    assert len(found.readings) <= MOST_GPUS
    assert len(found.xids) == MOST_GPUS
    assert all(len(each) <= MOST_XIDS for each in found.xids.values())


def test_a_line_of_another_hand_is_read_as_far_as_it_is_valid():
    odd = {"index": 0, "power_w": int("9" * 301), "xids": {str(n): 1 for n in range(1, 60_000)}}
    line = {**record_of(seen(OLD)), "gpus": [odd] * 50}
    event = entry_of(json.loads(json.dumps(line))).event
    assert isinstance(event, GpuSeen)
    assert len(event.gpus) == MOST_GPUS
    assert event.gpus[0].power_w is None
    assert len(event.gpus[0].xids) == MOST_XIDS
    for bad in ("x", [7], [{}], {"index": 0}):
        assert isinstance(entry_of({**line, "gpus": bad}).event, BrokenEvent)


def test_the_line_of_a_reading_is_small_and_a_rotation_does_not_keep_it():
    record = record_of(seen(OLD, GPU))
    assert record["gpus"] == [{"index": 0, "name": "NVIDIA H200", "utilisation": 0.9, "temperature_c": 60.0}]
    full = Reading(
        index=9,
        uuid="GPU-" + "a" * 36,
        name="NVIDIA H200",
        utilisation=0.1234,
        memory_used_bytes=2**37,
        memory_total_bytes=2**38,
        temperature_c=60.0,
        power_w=512.3412,
        ecc_errors=0,
    )
    assert len(json.dumps(record_of(seen(OLD, *[full] * MOST_GPUS)))) < 5_000
    assert "gpu_seen" in OF_CLIENTS
    assert "device_changed" not in OF_CLIENTS
