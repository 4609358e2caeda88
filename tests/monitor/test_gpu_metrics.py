"""The GPUs of the clients as metrics: one series a GPU, whatever a client claims to have."""

import subprocess

import pytest

pytest.importorskip("prometheus_client")

from oneflower.gpu.readings import Reading
from oneflower.journal import reduce
from oneflower.monitor.gpu_metrics import MOST_GPUS
from oneflower.monitor.metrics import exposition
from oneflower.monitor.state.safety import Safety

from ..making import entry
from .gpu_events import BAD, FINE, MIG, SOME, STARTED, client
from .test_metrics import BEGIN, promtool, samples


def test_a_gpu_is_told_with_its_client_its_number_and_its_name():
    found = samples(reduce(SOME))
    labels = ("0", "NVIDIA H200", "edge-1")
    assert found["oneflower_gpu_utilisation_ratio", labels] == 0.934
    assert found["oneflower_gpu_memory_used_bytes", labels] == 6e10
    assert found["oneflower_gpu_memory_total_bytes", labels] == 1.5e11
    assert found["oneflower_gpu_temperature_celsius", labels] == 64
    assert found["oneflower_gpu_power_watts", labels] == 505.2
    assert found["oneflower_gpu_ecc_uncorrected_errors_total", labels] == 0
    assert found["oneflower_gpu_ecc_uncorrected_errors_total", ("1", "NVIDIA H200", "edge-2")] == 3
    assert found["oneflower_gpu_xid_errors_total", ("1", "79", "edge-2")] == 1
    assert found["oneflower_gpu_xid_errors_total", ("1", "31", "edge-2")] == 2
    assert found["oneflower_gpus", ()] == 4


def test_what_a_gpu_cannot_tell_has_no_series():
    found = {name for name, labels in samples(reduce([*client(4, MIG)])) if "edge-4" in labels}
    assert found == {"oneflower_gpu_memory_used_bytes", "oneflower_client_on_processor"}


def test_a_client_on_its_processor_is_told_and_one_that_does_not_say_it_is_not():
    found = samples(reduce(SOME))
    assert found["oneflower_client_on_processor", ("edge-3",)] == 1
    assert found["oneflower_client_on_processor", ("edge-1",)] == 0
    assert ("oneflower_client_on_processor", ("edge-4",)) not in found


def test_a_client_that_is_gone_has_no_series():
    gone = [*SOME, entry("client_left", client="9990000001", connected=3)]
    assert not [labels for _, labels in samples(reduce(gone)) if "edge-1" in labels]


def test_names_of_clients_and_gpus_are_escaped():
    odd = Reading(index=0, name='H2"00\\', utilisation=0.5)
    found = samples(reduce(client(1, odd, name='a"\x1b\n{b="c"}')))
    assert found["oneflower_gpu_utilisation_ratio", ("0", 'H2"00\\', 'a"\\x1b\\n{b="c"}')] == 0.5


def test_two_clients_of_one_name_are_two_series():
    found = samples(reduce([*client(1, FINE, name="a"), *client(2, MIG, name="a")]))
    assert found["oneflower_gpu_memory_used_bytes", ("0", "NVIDIA H200", "a")] == 6e10
    assert found["oneflower_gpu_memory_used_bytes", ("0:7", "NVIDIA H200", "a/000002")] == 1e9


def test_the_number_of_series_is_bounded_and_all_gpus_are_counted():
    gpus = [Reading(index=index, utilisation=0.5, xids={index + 1: 1}) for index in range(16)]
    many = [STARTED, *(each for number in range(100) for each in client(number, *gpus))]
    found = samples(reduce(many))
    assert found["oneflower_gpus", ()] == 1600
    assert found["oneflower_gpus_left_out", ()] == 600
    for name in ("oneflower_gpu_utilisation_ratio", "oneflower_gpu_xid_errors_total"):
        assert len([key for key in found if key[0] == name]) == MOST_GPUS


def test_clients_of_many_hot_gpus_with_errors_push_no_other_client_out():
    hot = [
        Reading(index=index, temperature_c=99.0, xids=dict.fromkeys(range(1, 17), 1)) for index in range(16)
    ]
    hostile = [each for number in range(63) for each in client(number, *hot, name=f"evil-{number}")]
    honest = [each for number in range(100, 300) for each in client(number, FINE)]
    late = client(400, BAD, name="late")
    found = samples(reduce([STARTED, *hostile, *honest, *late]))
    shown = [labels for name, labels in found if name == "oneflower_gpu_temperature_celsius"]
    assert len(shown) == MOST_GPUS
    assert {f"edge-{number}" for number in range(100, 300)} <= {labels[-1] for labels in shown}
    assert found["oneflower_gpu_xid_errors_total", ("1", "79", "late")] == 1
    assert found["oneflower_gpus_left_out", ()] == 63 * 16 + 201 - MOST_GPUS


def test_what_is_left_out_stays_the_same_when_a_gpu_gets_into_trouble():
    many = [STARTED, *(each for number in range(MOST_GPUS + 1) for each in client(number, FINE))]
    first = {key for key in samples(reduce(many)) if key[0] == "oneflower_gpu_utilisation_ratio"}
    state = reduce([*many, *client(MOST_GPUS, Reading(index=0, utilisation=0.1, temperature_c=99.0))])
    assert {key for key in samples(state) if key[0] == "oneflower_gpu_utilisation_ratio"} == first


def test_promtool_finds_nothing_to_complain_about():
    text = exposition(reduce(SOME), Safety(), BEGIN)
    checked = subprocess.run([promtool(), "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
