"""Each layer that fails has a reason and a remedy, and nothing after it is looked at."""

import json

import pytest

from oneflower.gpu import Layer, Ran

from .machine import INFO, MIG, TORCH, UUIDS, cdi, csv, denied, missing, timed_out

GIB = 1 << 30


def failed(found, layer, reason, remedy):
    assert (found.failed, found.usable, found.arguments) == (layer, False, ())
    assert reason in found.reason
    assert remedy in found.remedy
    assert found.text == f"{layer} failed: {found.reason}"
    assert [each for each, _ in found.seen] == list(Layer)[: list(Layer).index(layer)]


def test_a_machine_on_which_every_layer_works(machine):
    found = machine.detect()
    assert found.usable
    assert [layer for layer, _ in found.seen] == list(Layer)
    assert [(gpu.index, gpu.uuid, gpu.memory_bytes) for gpu in found.gpus] == [
        (0, UUIDS[0], 80 * GIB),
        (1, UUIDS[1], 80 * GIB),
    ]
    assert found.arguments == ("--device=nvidia.com/gpu=all",)
    assert found.text == "NVIDIA A100 80GB PCIe, 80 GiB; NVIDIA A100 80GB PCIe, 80 GiB"
    assert "PyTorch 2.6.0+cu124 for CUDA 12.4 computes on 2 of 2 GPUs" in dict(found.seen)[Layer.FRAMEWORK]


# --- pci ---


def test_no_gpu_on_the_bus(tmp_path, machine):
    machine.root = tmp_path / "empty"
    failed(machine.detect(), Layer.PCI, "no NVIDIA GPU is on the PCI bus", "PCI=[...]")
    assert machine.calls == []


# --- driver ---


def test_no_module(machine):
    (machine.root / "proc/driver/nvidia/version").unlink()
    failed(machine.detect(), Layer.DRIVER, "kernel module is not loaded", "GPU=YES")
    assert machine.calls == []


def test_nouveau(machine):
    (machine.root / "proc/driver/nvidia/version").unlink()
    link = machine.root / "sys/bus/pci/devices/0000:01:00.0/driver"
    link.unlink()
    link.symlink_to("../nouveau")
    failed(machine.detect(), Layer.DRIVER, "Nouveau is bound", "blacklist nouveau")


@pytest.mark.parametrize(
    ("ran", "reason", "remedy"),
    [
        (missing, "nvidia-smi is not installed", "install the driver's programs"),
        (denied, "cannot be started: [Errno 13]", "install the driver again"),
        (ValueError("embedded null byte"), "cannot be started", "install the driver again"),
        (timed_out, "did not end within 20 s", "dmesg"),
        (
            Ran(code=9, out="NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."),
            "cannot communicate with the driver",
            "modprobe nvidia",
        ),
        (
            Ran(code=18, out="Failed to initialize NVML: Driver/library version mismatch\nNVML library: 560"),
            "different versions",
            "reboot",
        ),
        (Ran(code=6, out="No devices were found"), "no GPU that works", "UEFI and q35"),
        (
            Ran(code=15, err="Unable to determine the device handle for GPU0: GPU is lost."),
            "off the bus",
            "79",
        ),
        (Ran(code=4, out="Failed to initialize NVML: Insufficient Permissions"), "may not open", "root"),
        (Ran(code=3, out="x" * 10**6 + "\x1b[31m\nlast words"), "exit code 3 and printed", "nvrm"),
        (Ran(code=0, out=""), "it lists no GPU", "nvidia-smi --query-gpu"),
        (Ran(code=0, out="0, GPU-1\n"), "has 2 columns", "nvidia-smi --query-gpu"),
        (Ran(code=0, out=csv().replace("81920", "[N/A]")), "memory.total is '[N/A]'", "nvidia-smi"),
        (Ran(code=0, out=csv().replace("81920", "9" * 5000)), "memory.total is '999", "nvidia-smi"),
        (Ran(code=0, out=csv().replace("0, GPU", "-1, GPU")), "index is '-1'", "nvidia-smi"),
        (Ran(code=0, out=csv(1) * 2), "a GPU twice", "nvidia-smi"),
        (Ran(code=0, out=csv(1) * 65), "it has 65 lines", "nvidia-smi"),
    ],
)
def test_nvidia_smi_fails(machine, ran, reason, remedy):
    machine.smi = ran
    found = machine.detect()
    failed(found, Layer.DRIVER, reason, remedy)
    assert len(found.reason) < 1000
    assert found.reason.isprintable()


@pytest.mark.parametrize("makes_them", [False, True])
def test_device_nodes_are_made_at_boot_alone(machine, makes_them):
    (machine.root / "dev/nvidia-uvm").unlink()
    found = machine.detect(make_nodes=makes_them)
    failed(found, Layer.DRIVER, "/dev/nvidia-uvm is not there", "`nvidia-modprobe -c=0 -u`")
    assert (("nvidia-modprobe", "-c=0", "-u") in machine.calls) == makes_them
    machine.file("dev/nvidia-uvm")
    machine.calls.clear()
    assert machine.detect(make_nodes=makes_them).usable
    assert ("nvidia-modprobe", "-c=0", "-u") not in machine.calls


def test_selected_devices(machine):
    found = machine.detect("1")
    assert [gpu.index for gpu in found.gpus] == [1]
    assert found.arguments == (f"--device=nvidia.com/gpu={UUIDS[1]}",)
    both = machine.detect(UUIDS[1], UUIDS[0])
    assert [gpu.index for gpu in both.gpus] == [1, 0]
    assert both.arguments == tuple(f"--device=nvidia.com/gpu={UUIDS[each]}" for each in (1, 0))


@pytest.mark.parametrize("name", ["2", UUIDS[3], MIG])
def test_a_selected_device_that_is_not_there(machine, name):
    found = machine.detect("0", name)
    failed(found, Layer.DRIVER, f"FL_CUDA_VISIBLE_DEVICES names {name}", "correct FL_CUDA_VISIBLE_DEVICES")
    assert f"0 {UUIDS[0]} (NVIDIA A100 80GB PCIe); 1 {UUIDS[1]}" in found.reason


LISTED = (
    f"GPU 0: NVIDIA A100 80GB PCIe (UUID: {UUIDS[0]})\n"
    f"  MIG 3g.40gb     Device  0: (UUID: {MIG})\n"
    "  MIG nonsense\n"
    f"GPU 9: unknown (UUID: {UUIDS[3]})\n"
    f"  MIG 3g.40gb     Device  0: (UUID: {MIG[:-1]}0)\n"
)


def test_a_mig_device(machine):
    machine.smi = Ran(code=0, out=csv(1, mig="Enabled"))
    machine.list = Ran(code=0, out=LISTED)
    machine.file("etc/cdi/nvidia.yaml", cdi("0:0", MIG, "all"))
    for found in (machine.detect(MIG), machine.detect()):
        (gpu,) = found.gpus
        assert (gpu.uuid, gpu.name) == (MIG, "NVIDIA A100 80GB PCIe MIG 3g.40gb")
        assert gpu.memory_bytes == 40 * GIB
    assert machine.detect(MIG).arguments == (f"--device=nvidia.com/gpu={MIG}",)
    failed(machine.detect("0"), Layer.DRIVER, "a GPU in MIG mode", "name a MIG device")


@pytest.mark.parametrize("profile", ["1g.10gb+me", "1g.24gb-me", "1c.3g.40gb"])
def test_every_form_of_a_mig_profile(machine, profile):
    machine.smi = Ran(code=0, out=csv(1, mig="Enabled"))
    machine.list = Ran(code=0, out=LISTED.replace("3g.40gb", profile))
    machine.file("etc/cdi/nvidia.yaml", cdi("0:0", MIG, "all"))
    assert machine.detect(MIG).gpus[0].name == f"NVIDIA A100 80GB PCIe MIG {profile}"


def test_mig_mode_without_a_device(machine):
    machine.smi = Ran(code=0, out=csv(1, mig="Enabled"))
    for said in (Ran(code=0), timed_out, missing):
        machine.list = said
        failed(machine.detect(), Layer.DRIVER, "has no MIG device", "nvidia-smi mig -cgi")


# --- container ---


def no_spec(machine):
    (machine.root / "etc/cdi/nvidia.yaml").unlink()


@pytest.mark.parametrize(
    ("info", "reason", "remedy"),
    [
        (missing, "/usr/bin/docker cannot be started", "install Docker"),
        (timed_out, "did not end within 30 s", "restart docker"),
        (Ran(code=1, err="Cannot connect to the Docker daemon"), "Cannot connect to the", "restart docker"),
        (Ran(code=0, out="{"), "is not JSON", "podman-docker"),
        (Ran(code=0, out="[" * 100_000), "is not JSON", "podman-docker"),
        (Ran(code=0, out='{"gpus": null}'), "docker unknown has neither", "NVIDIA Container Toolkit"),
        (Ran(code=0, out="[]"), "docker unknown has neither", "NVIDIA Container Toolkit"),
        (Ran(code=0, out=json.dumps(INFO)), "no CDI specification", "nvidia-ctk cdi generate --output="),
    ],
)
def test_no_way_into_a_container(machine, info, reason, remedy):
    no_spec(machine)
    machine.info = info
    failed(machine.detect(), Layer.CONTAINER, reason, remedy)


def test_a_spec_that_the_engine_does_not_use(machine):
    machine.info = Ran(code=0, out=json.dumps({"ServerVersion": "28.2.2", "CDISpecDirs": []}))
    failed(machine.detect(), Layer.CONTAINER, "Docker 28.2.2 does not use CDI", '"cdi": true')
    machine.info = Ran(code=0, out=json.dumps({"host": {}, "version": {"Version": "3.4.4"}}))
    failed(machine.detect(), Layer.CONTAINER, "podman 3.4.4 does not know CDI", "podman 4.1")


def test_a_spec_that_is_older_than_the_gpu(machine):
    machine.file("etc/cdi/nvidia.yaml", cdi("0", UUIDS[0]))
    failed(machine.detect("1"), Layer.CONTAINER, "does not have GPU 1", "nvidia-ctk cdi generate")


@pytest.mark.parametrize("code", [125, 126, 127])
def test_a_container_that_does_not_start_with_the_gpu(machine, code):
    error = "docker: Error response from daemon: unresolvable CDI devices nvidia.com/gpu=all."
    machine.probe = Ran(code=code, err=error)
    failed(machine.detect(), Layer.CONTAINER, "unresolvable CDI devices", "nvidia-ctk cdi generate")


# --- framework ---


def said(**more):
    return Ran(code=0, out=f"a warning\n{json.dumps({**TORCH, **more})}\n")


OLD = "The NVIDIA driver on your system is too old (found version 11040)."


@pytest.mark.parametrize(
    ("ran", "reason", "remedy"),
    [
        (timed_out, "did not end within 150 s", "dmesg"),
        (said(torch="2.6.0+cpu", cuda=None, available=False, devices=[]), "built without CUDA", "GPU=YES"),
        (said(available=False, error=OLD, devices=[]), "the driver is too old", "install a driver"),
        (said(error="CUDA error: no kernel image is available"), "no code for this GPU's", "versions"),
        (said(error="all CUDA-capable devices are busy or unavailable"), "busy", "nvidia-smi -c DEFAULT"),
        (said(available=False, devices=[]), "is_available() is False", "/dev/nvidia*"),
        (said(available=1), "is_available() is False", "/dev/nvidia*"),
        (said(torch=None), "has no PyTorch", "ML_FRAMEWORK=pytorch"),
        (said(devices=TORCH["devices"][:1]), "sees 1 of 2 GPUs", "nvidia-smi -L"),
        (said(devices=None), "sees 0 of 2 GPUs", "nvidia-smi -L"),
        (Ran(code=1, err="Traceback\nSyntaxError"), "printed no JSON and ended with exit code 1", "release"),
        (Ran(code=0, out="[1, 2]"), "printed no JSON", "this release"),
        (Ran(code=0, out="{}"), "printed no JSON", "this release"),
        (Ran(code=0, out="[" * 10**6), "printed no JSON", "this release"),
        (Ran(code=0), "it printed nothing", "this release"),
    ],
)
def test_pytorch_cannot_use_the_gpu(machine, ran, reason, remedy):
    machine.probe = ran
    failed(machine.detect(), Layer.FRAMEWORK, reason, remedy)


def test_a_gpu_whose_memory_is_in_use_works(machine):
    machine.probe = said(error="CUDA out of memory. Tried to allocate 2.00 MiB", devices=[])
    assert machine.detect().usable


def test_an_image_that_needs_no_pytorch(machine):
    machine.probe = said(torch=None)
    found = machine.detect(needs_torch=False)
    assert found.usable
    assert "its framework is not PyTorch" in dict(found.seen)[Layer.FRAMEWORK]


def test_a_probe_that_hangs_is_removed_by_its_name(machine):
    machine.probe = timed_out
    machine.detect()
    remove = ("/usr/bin/docker", "rm", "--force", "oneflower-gpu-probe")
    run = [call for call in machine.calls if call[1] == "run"]
    assert machine.calls[-3:] == [remove, *run, remove]


def test_the_engine_goes_away_before_the_probe(machine):
    machine.probe = machine.others = missing
    failed(machine.detect(), Layer.CONTAINER, "cannot be started", "nvidia-ctk")
