"""What the environment of ClientApp processes says of their GPUs."""

from dataclasses import replace

import pytest

from oneflower.flower.app_gpus import AppGpus, app_gpus, give_gpus, gpu_environment, is_no_container
from oneflower.settings import Settings

ON = Settings(gpu_enabled=True)
WARM = "warm-executor"


def test_without_gpus_no_app_sees_one_whatever_the_operators_environment_says():
    given = gpu_environment(Settings(), {"CUDA_VISIBLE_DEVICES": "0"})
    assert given == {"CUDA_VISIBLE_DEVICES": "", "ONEFLOWER_GPU": "NO"}
    assert app_gpus(given) is None


def test_all_leaves_the_choice_to_the_operators_environment():
    assert "CUDA_VISIBLE_DEVICES" not in gpu_environment(ON, {})
    assert "CUDA_VISIBLE_DEVICES" not in gpu_environment(ON, {"CUDA_VISIBLE_DEVICES": "1"})


@pytest.mark.parametrize("devices", ["0,1", "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"])
def test_a_list_is_what_cuda_shows_in_the_order_of_the_bus(devices):
    given = gpu_environment(replace(ON, cuda_visible_devices=devices), {"CUDA_VISIBLE_DEVICES": "3"})
    assert given["CUDA_VISIBLE_DEVICES"] == devices
    assert given["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_a_container_that_was_given_the_chosen_gpus_alone_uses_all_of_them():
    """GPU 3 of the machine is number 0 there."""
    chosen = {"ONEFLOWER_GPUS_CHOSEN": "YES"}
    given = gpu_environment(replace(ON, cuda_visible_devices="3"), chosen)
    assert "CUDA_VISIBLE_DEVICES" not in given
    assert app_gpus(given | chosen).on_vm


def test_outside_of_a_container_the_chosen_gpus_are_chosen():
    environ = {"ONEFLOWER_GPUS_CHOSEN": "YES", "HOME": "/root"}
    is_no_container(environ)
    is_no_container(environ)
    assert environ == {"HOME": "/root"}


def test_cuda_is_deterministic_and_not_started_by_a_question():
    given = gpu_environment(ON, {})
    assert given["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert given["PYTORCH_NVML_BASED_CUDA_CHECK"] == "1"


def test_the_sdk_reads_what_was_set():
    settings = replace(ON, gpu_memory_fraction=0.4, gpu_required=True)
    assert app_gpus(gpu_environment(settings, {})) == AppGpus(fraction=0.4, required=True, on_vm=False)


@pytest.mark.parametrize("text", ["", "x", "nan", "0", "-1", "2", "inf"])
def test_a_fraction_that_is_none_limits_nothing(text):
    assert app_gpus({"ONEFLOWER_GPU": "YES", "ONEFLOWER_GPU_FRACTION": text}).fraction == 1.0


def test_it_is_the_same_in_the_processes_that_a_process_starts():
    settings = replace(ON, cuda_visible_devices="1")
    once = gpu_environment(settings, {})
    assert once | gpu_environment(settings, once) == once


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("supernode", []),
        (WARM, []),
        ("clientapp", []),
        ("superexec", ["--plugin-type", "clientapp"]),
        ("superexec", ["--plugin-type=clientapp"]),
    ],
)
def test_what_runs_clientapps_gets_it(program, arguments):
    environ = {}
    give_gpus(program, arguments, ON, environ)
    assert environ["ONEFLOWER_GPU"] == "YES"


@pytest.mark.parametrize(
    ("program", "arguments"),
    [("superlink", []), ("serverapp", []), ("superexec", ["--plugin-type", "serverapp"])],
)
def test_a_server_stays_as_it_is(program, arguments):
    environ = {"CUDA_VISIBLE_DEVICES": "0"}
    give_gpus(program, arguments, Settings(), environ)
    assert environ == {"CUDA_VISIBLE_DEVICES": "0"}
