"""Doctor names each layer of a GPU, and says nothing of a machine that has and wants none."""

from dataclasses import replace

import pytest

from oneflower.gpu import Ran
from oneflower.opennebula.appliance.gpus import look
from oneflower.opennebula.doctor import checks_context, checks_gpu, contents

from ...gpu.machine import timed_out, working

ON = {"FL_GPU_ENABLED": "YES"}


@pytest.fixture
def machine(layout):
    return working(layout.root)


@pytest.fixture
def findings(host_of, layout):
    """Return what the check finds; `by` is the machine with the programs."""

    def of(role="supernode", by=None, **context):
        host = host_of(role, **context)
        host = replace(host, programs=by.run) if by else host
        list(checks_context.settings(host))
        return [(each.check, each.outcome.value, each.found, each.fix) for each in checks_gpu.gpu(host)]

    return of


@pytest.fixture
def booted(host_of, machine):
    """Keep what a boot finds on the machine as it is now."""

    def look_now(**context):
        layout = host_of("supernode", **context).layout
        layout.config.mkdir(parents=True, exist_ok=True)
        stage = replace(host_of("supernode", **context), programs=machine.run).stage
        look(stage, stage.settings().settings)

    return look_now


def test_a_machine_without_gpus_that_wants_none(findings):
    assert findings() == findings("superlink") == findings(FL_GPU_ENABLED="maybe") == []


def test_gpus_that_nobody_uses(findings, machine):
    text = "2 NVIDIA GPUs are not used: FL_GPU_ENABLED is NO"
    assert findings(by=machine) == [("gpu", "ok", text, "")]
    assert findings("superlink", by=machine) == []
    assert findings(by=machine, FL_GPU_ENABLED="maybe")[0][:2] == ("gpu", "skipped")
    assert machine.calls == []


def test_every_layer_works(findings, machine, booted):
    booted(**ON)
    machine.calls.clear()
    found = findings(by=machine, **ON)
    layers = ("gpu-pci", "gpu-driver", "gpu-container", "gpu-framework")
    assert [(name, outcome) for name, outcome, *_ in found] == [(layer, "ok") for layer in layers]
    assert found[0][2] == "0000:01:00.0 10de:20b5 (nvidia), 0000:02:00.0 10de:20b5 (nvidia)"
    assert not [call for call in machine.calls if call[0] == "nvidia-modprobe"]
    assert "--name=oneflower-gpu-doctor" in next(call for call in machine.calls if call[1] == "run")


@pytest.mark.parametrize(
    ("what", "ran", "name", "fix"),
    [
        ("smi", timed_out, "gpu-driver", "dmesg"),
        ("info", Ran(code=0, out="{}"), "gpu-container", '"cdi": true'),
        ("probe", Ran(code=0, out='{"torch": null}'), "gpu-framework", "ML_FRAMEWORK=pytorch"),
    ],
)
def test_a_layer_that_fails_is_a_problem_with_a_fix(findings, machine, what, ran, name, fix):
    setattr(machine, what, ran)
    *works, (check, outcome, _, remedy) = findings(by=machine, **ON)
    assert (check, outcome, fix in remedy) == (name, "problem", True)
    assert {each[1] for each in works} == {"ok"}


def test_no_gpu_at_all(findings, host_of):
    ((check, outcome, _, fix),) = findings(**ON)
    assert (check, outcome, "PCI=[...]" in fix) == ("gpu-pci", "problem", True)


def test_a_gpu_that_works_since_the_boot(findings, machine, booted):
    smi, machine.smi = machine.smi, timed_out
    booted(**ON)
    machine.smi = smi
    check, outcome, text, fix = findings(by=machine, **ON)[-1]
    assert (check, outcome) == ("gpu-boot", "warning")
    assert "not started with these GPUs: driver failed: nvidia-smi did not end" in text
    assert "reboot" in fix


def test_a_bundle_has_what_the_driver_says(host_of, machine, booted):
    booted(**ON)
    host = replace(host_of("supernode"), programs=machine.run)
    text = dict(contents.collect(host, "", ""))["gpu.txt"]
    for expected in ("$ nvidia-smi -q\n0, GPU-5c89852c", "550.54.15", '"--device=nvidia.com/gpu=all"'):
        assert expected in text
    machine.smi = FileNotFoundError(2, "No such file or directory")
    assert "No such file" in dict(contents.collect(host, "", ""))["gpu.txt"]


def test_a_bundle_of_a_machine_without_gpus_has_no_such_text(host_of):
    assert "gpu.txt" not in dict(contents.collect(host_of("supernode"), "", ""))
