"""The status says how many GPUs there are and who is in trouble; nothing where there is none."""

from oneflower.journal import reduce
from oneflower.monitor.export import full_document
from oneflower.monitor.text.gpus import MOST_ROWS, gpu_rows
from oneflower.monitor.text.lines import WARNINGS, describe
from oneflower.monitor.text.status import lines

from ...making import BEGIN, entry
from ..gpu_events import SOME, STARTED, client


def test_the_status_names_the_clients_in_trouble():
    found = list(gpu_rows(reduce(SOME)))
    assert found[0] == ("gpus", "4 of 4 clients, 62 % busy")
    assert [text.partition(":")[0] for _, text in found[1:]] == ["edge-2", "edge-3"]
    assert found[2][1] == "edge-3: trains on the processor"
    assert ("gpus", found[0][1]) in list(lines(reduce(SOME), BEGIN))


def test_without_gpus_there_is_no_line():
    assert not [label for label, _ in lines(reduce([STARTED]), BEGIN) if label == "gpus"]


def test_of_many_in_trouble_a_few_are_named():
    found = list(gpu_rows(reduce([each for number in range(50) for each in client(number, device="cpu")])))
    assert found[0] == ("gpus", "0 of 50 clients")
    assert len(found) == MOST_ROWS + 2
    assert found[-1] == ("", "and 45 more clients in trouble")


def test_another_kind_of_device_is_a_warning_with_its_number_of_clients():
    event = entry("device_changed", round=3, rounds=5, clients=2, reason="trained on A before, on B now")
    assert describe(event, reduce([])) == "round 3: 2 clients trained on A before, on B now"
    assert type(event.event) in WARNINGS


def test_the_json_has_every_reading():
    found = {each["name"]: each["gpus"] for each in full_document(reduce(SOME), BEGIN)["clients"]}
    assert found["edge-2"]["xid_errors"] == {"1": {"31": 2, "79": 1}}
    assert [each["index"] for each in found["edge-2"]["readings"]] == [0, 1]
    assert (found["edge-3"]["device"], found["edge-3"]["readings"]) == ("cpu", [])
    assert full_document(reduce([entry("client_joined", client="7")]), BEGIN)["clients"][0]["gpus"] is None
