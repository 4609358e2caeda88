"""A SuperNode gets its GPUs where they work, trains without them where they do not, and says which."""

import json
import shlex
from dataclasses import replace

import pytest

from oneflower import __version__
from oneflower.errors import ClusterError, GpuError
from oneflower.gpu import Ran
from oneflower.kinds import may_pass
from oneflower.opennebula.appliance import bootstrap as bootstrapping
from oneflower.opennebula.appliance import gpus
from oneflower.opennebula.appliance import join as joining
from oneflower.opennebula.appliance.again import AGAIN, schedule
from oneflower.opennebula.appliance.bootstrap import bootstrap
from oneflower.opennebula.appliance.configure import configure
from oneflower.opennebula.appliance.publisher import OWN_KEYS, Publisher
from oneflower.opennebula.appliance.report import LOOKS_WITHOUT_NODE, look, look_at_gpus
from oneflower.opennebula.appliance.units import DOCKER, RESTRICTIONS, again_unit
from oneflower.opennebula.onegate.encoding import decode
from oneflower.opennebula.roles import Machine

from ..gpu.machine import PODMAN, UUIDS, timed_out, working

NODE = "flower-supernode.service"
LINK = {"FL_SUPERLINK_ADDRESS": "10.77.0.2:9092", "FL_TLS_ENABLED": "NO"}
ON = {**LINK, "FL_GPU_ENABLED": "YES"}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(bootstrapping, "HEALTH_TIMEOUT_S", 0.0)
    for name in ("CA_TIMEOUT_S", "DISCOVERY_TIMEOUT_S", "PARTITION_TIMEOUT_S"):
        monkeypatch.setattr(joining, name, 0.0)


@pytest.fixture
def machine(layout):
    return working(layout.root)


@pytest.fixture
def boot(stage_of, machine):
    """Boot a SuperNode on that machine; the value is its stage."""

    def run(vm=None, **context):
        stage = replace(stage_of("supernode", vm=vm, **context), programs=machine.run)
        configure(stage)
        bootstrap(stage)
        return stage

    return run


def environment(layout, name="flower-supernode"):
    lines = layout.environment(name).read_text().splitlines()
    return {
        name: text
        for name, _, text in (line.partition("=") for line in lines)
        if "GPU" in name or "CUDA" in name
    }


def command(layout, name=NODE):
    (line,) = [line for line in (layout.units / name).read_text().splitlines() if "ExecStart=" in line]
    return shlex.split(line.partition("=")[2])


def broken(machine):
    machine.smi = Ran(code=9, out="it couldn't communicate with the NVIDIA driver")


def test_the_whole_command_of_a_supernode_with_gpus(boot, layout):
    """What binds every container binds this one, too."""
    boot(**ON)
    words = command(layout)
    assert words[: words.index(f"oneflower-supernode:{__version__}")] == [
        DOCKER,
        "run",
        "--rm",
        *RESTRICTIONS,
        "--name=flower-supernode",
        "--user=49999:49999",
        f"--env-file={layout.environment('flower-supernode')}",
        *[word for word in words if word.startswith("--volume=")],
        "--init",
        "--device=nvidia.com/gpu=all",
    ]
    assert {"--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only"} < {*words}
    assert environment(layout) == {"FL_GPU_ENABLED": "YES", "ONEFLOWER_GPUS_CHOSEN": "YES"}


def test_the_runtime_of_nvidia(boot, layout, machine):
    machine.info = Ran(code=0, out='{"ServerVersion": "24.0.7", "Runtimes": {"nvidia": {}}}')
    boot(**ON, FL_CUDA_VISIBLE_DEVICES="1,0")
    given = [word for word in command(layout) if "gpus" in word or "NVIDIA" in word]
    device = f'--gpus="device={UUIDS[1]},{UUIDS[0]}"'
    assert given == [device, "--env=NVIDIA_DRIVER_CAPABILITIES=compute,utility"]


def test_nothing_reloads_systemd_after_a_container_with_a_gpu_has_started(boot):
    """A reload can take the GPU from a container that runs."""
    stage = boot(vm=12, **ON)
    calls = [call[1:] for call in stage.commands.calls if "systemctl" in call[0]]
    assert ("daemon-reload",) in calls
    assert ("daemon-reload",) not in calls[calls.index(("restart", NODE)) :]
    assert ("restart", "flower-report.service") in calls


def test_numbers_become_uuids_inside_of_the_container(boot, layout):
    """It counts the GPUs that it has from 0."""
    boot(**ON, FL_CUDA_VISIBLE_DEVICES="1", FL_GPU_MEMORY_FRACTION="0.5")
    assert f"--device=nvidia.com/gpu={UUIDS[1]}" in command(layout)
    assert environment(layout) == {
        "FL_GPU_ENABLED": "YES",
        "ONEFLOWER_GPUS_CHOSEN": "YES",
        "FL_CUDA_VISIBLE_DEVICES": UUIDS[1],
        "FL_GPU_MEMORY_FRACTION": "0.5",
    }


def test_a_separate_executor_has_the_gpus_too(boot, layout):
    boot(**ON, FL_ISOLATION="process")
    assert "--device=nvidia.com/gpu=all" in command(layout, "flower-superexec.service")


def test_a_unit_with_a_gpu_starts_after_the_driver(boot, layout):
    boot(**ON)
    unit = (layout.units / NODE).read_text()
    assert "After=docker.service network-online.target nvidia-persistenced.service\n" in unit
    assert "Wants=docker.service network-online.target nvidia-persistenced.service\n" in unit


@pytest.mark.parametrize("podman", [False, True])
def test_pytorch_is_tried_in_a_container_as_bound_as_the_others(boot, machine, podman):
    if podman:
        machine.info = Ran(code=0, out=json.dumps(PODMAN))
    boot(**ON)
    (probe,) = [call for call in machine.calls if call[:2] == (DOCKER, "run")]
    kept = {option for option in RESTRICTIONS if "network" not in option}
    assert kept < {*probe}
    assert {"--network=none", "--user=49999:49999", "--init", "--name=oneflower-gpu-probe"} < {*probe}
    assert "--device=nvidia.com/gpu=all" in probe
    assert probe[-4:-1] == (f"oneflower-supernode:{__version__}", "-P", "-m")


def test_another_framework_is_tried_in_its_image(boot, machine):
    machine.probe = Ran(code=0, out='{"torch": null}')
    boot(**ON, ML_FRAMEWORK="sklearn")
    (probe,) = [call for call in machine.calls if call[:2] == (DOCKER, "run")]
    assert f"oneflower-supernode-sklearn:{__version__}" in probe


def test_without_a_gpu_processors_train(boot, layout, machine, onegate, caplog):
    broken(machine)
    boot(vm=12, **ON, FL_CUDA_VISIBLE_DEVICES="0")
    assert not [word for word in command(layout) if "nvidia" in word or "gpus" in word]
    assert "nvidia" not in (layout.units / NODE).read_text()
    assert environment(layout) == {"FL_GPU_ENABLED": "YES", "ONEFLOWER_GPUS_CHOSEN": "YES"}
    (warning,) = [each for each in caplog.records if each.getMessage().startswith("gpu not used")]
    assert warning.levelname == "WARNING"
    assert "layer=driver" in warning.getMessage()
    assert "modprobe nvidia" in warning.getMessage()
    template = onegate.state.vms[12]["template"]
    assert template["READY"] == "YES"
    said = decode("FL_GPU", template["FL_GPU"]).strip()
    assert said == "driver failed: nvidia-smi cannot communicate with the driver"
    kept = json.loads(layout.gpus.read_text())
    assert (kept["failed"], kept["arguments"]) == ("driver", [])
    assert layout.gpus.stat().st_mode & 0o777 == 0o600


def test_onegate_shows_the_gpus(boot, onegate):
    boot(vm=12, **ON)
    said = decode("FL_GPU", onegate.state.vms[12]["template"]["FL_GPU"]).strip()
    assert said == "NVIDIA A100 80GB PCIe, 80 GiB; NVIDIA A100 80GB PCIe, 80 GiB"


def test_the_report_keeps_showing_them(boot, onegate, hours):
    stage = boot(vm=12, **ON)
    assert "FL_GPU" in OWN_KEYS
    shown = onegate.state.vms[12]["template"].pop("FL_GPU")
    publisher = Publisher(stage.onegate, hours.clock)
    publisher.offer({**stage.published(), **look(stage)})
    assert onegate.state.vms[12]["template"]["FL_GPU"] == shown


def test_a_gpu_that_is_required_and_fails_is_an_error(boot, layout, machine, onegate, commands):
    broken(machine)
    with pytest.raises(GpuError, match="FL_GPU_REQUIRED") as caught:
        boot(vm=12, **ON, FL_GPU_REQUIRED="YES")
    assert caught.value.exit_code == 8
    assert not may_pass(caught.value)
    template = onegate.state.vms[12]["template"]
    assert (template["READY"], template["FL_STATE"]) == ("NO", "failed")
    error = decode("FL_ERROR", template["FL_ERROR"])
    assert "driver failed: nvidia-smi cannot communicate" in error
    assert "`modprobe nvidia`" in error
    assert decode("FL_GPU", template["FL_GPU"]).startswith("driver failed")
    assert NODE not in commands.active


def test_a_machine_that_wants_no_gpu_is_as_before(boot, layout, machine, onegate):
    """Whatever it has, nothing is looked at, and what an earlier boot found is gone."""
    boot(vm=12, **ON)
    machine.calls.clear()
    boot(vm=12, **LINK)
    assert machine.calls == []
    assert not layout.gpus.exists()
    assert environment(layout) == {}
    unit = (layout.units / NODE).read_text()
    assert "nvidia" not in unit
    assert "Wants=docker.service network-online.target\nStartLimitIntervalSec=0\n" in unit
    assert "FL_GPU" not in onegate.state.vms[12]["template"]


def test_only_a_change_of_the_gpus_restarts_the_supernode(boot, commands, machine):
    stage = boot(**ON)
    assert commands.restarted() == [NODE]
    boot(**ON)
    look(stage)
    machine.probe = Ran(code=0, out='{"torch": "2.7", "cuda": "12.8", "available": true, "devices": [1, 2]}')
    boot(**ON)
    assert commands.restarted() == []
    machine.smi = timed_out
    boot(**ON)
    assert commands.restarted() == [NODE]


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": ["--privileged"]},
        {"arguments": "--gpus=all"},
        {"arguments": []},
        {"gpus": []},
        {"gpus": [{"index": 0}]},
        {"gpus": None},
        {"failed": "luck"},
        {"devices": "0"},
        None,
    ],
)
def test_a_file_that_was_changed_gives_no_gpu(boot, layout, change):
    stage = boot(**ON)
    settings = stage.settings().settings
    assert gpus.devices(layout, settings).arguments == ("--device=nvidia.com/gpu=all",)
    kept = json.loads(layout.gpus.read_text())
    layout.gpus.write_text("[" * 10_000 if change is None else json.dumps({**kept, **change}))
    assert gpus.devices(layout, settings) == gpus.Devices()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("memory_bytes", "Infinity"),
        ("memory_bytes", "1e400"),
        ("memory_bytes", "80.0"),
        ("memory_bytes", "0"),
        ("memory_bytes", str(1 << 60)),
        ("index", "1e400"),
        ("index", "NaN"),
        ("index", "-1"),
        ("index", "true"),
        ("index", '"0"'),
        ("uuid", '"GPU-1"'),
        ("uuid", f'"{UUIDS[0]}\\n"'),
        ("uuid", "7"),
        ("name", "null"),
        ("name", '"' + "x" * 301 + '"'),
    ],
)
def test_a_gpu_that_cannot_be_one_gives_no_gpu(boot, layout, key, value):
    stage = boot(**ON)
    content = json.loads(layout.gpus.read_text())
    content["gpus"][0][key] = "HERE"
    layout.gpus.write_text(json.dumps(content).replace('"HERE"', value))
    assert gpus.devices(layout, stage.settings().settings) == gpus.Devices()


def test_a_superlink_has_no_gpus(stage_of, machine, layout, monkeypatch):
    monkeypatch.setattr(bootstrapping, "superlink_answers", lambda settings, ca, sockets: True)
    stage = replace(stage_of("superlink", ETH0_IP="10.77.0.2", FL_GPU_ENABLED="YES"), programs=machine.run)
    configure(stage)
    bootstrap(stage)
    assert machine.calls == []
    assert not layout.gpus.exists()


def test_stages_that_run_again_see_the_gpus_and_end_with_one_that_is_required(boot, layout):
    """In a /dev of their own there would be none, and processors would train after an outage."""
    stage = boot(**ON)
    schedule(stage, ClusterError("an outage"))
    text = (layout.units / AGAIN).read_text()
    assert text == again_unit(Machine.SUPERNODE, gpu=True)
    assert "PrivateDevices" not in text
    assert {"DevicePolicy=closed", "DeviceAllow=char-nvidia rw", "RestartPreventExitStatus=2 5 6 8"} < {
        *text.splitlines()
    }
    plain = again_unit(Machine.SUPERNODE)
    assert {"PrivateDevices=yes", "RestartPreventExitStatus=2 5 6"} < {*plain.splitlines()}
    assert "nvidia" not in plain


def test_a_supernode_that_cannot_start_with_its_gpu_gets_another_look(boot, layout, commands, machine):
    """A GPU that fails after the boot does not end the node: the stages look at it, and leave it out."""
    stage = boot(**ON)
    assert look_at_gpus(stage, LOOKS_WITHOUT_NODE - 1) == 0
    assert AGAIN not in commands.active
    commands.active.discard(NODE)
    down = 0
    for expected in (1, 2, 3, 0):
        assert AGAIN not in commands.active
        down = look_at_gpus(stage, down)
        assert down == expected
    assert AGAIN in commands.active
    machine.smi = timed_out
    boot(**ON)
    assert "nvidia" not in (layout.units / NODE).read_text()
    commands.active.clear()
    assert look_at_gpus(stage, LOOKS_WITHOUT_NODE - 1) == 0
    assert commands.active == set()
