"""A machine whose files and programs are made up: each test breaks one layer."""

import json

from oneflower.gpu import Probe, Ran, detect

UUIDS = [f"GPU-5c89852c-d268-c3f3-1b07-{number:012d}" for number in range(4)]
MIG = "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f"
DOCKER = "/usr/bin/docker"
TORCH = {
    "torch": "2.6.0+cu124",
    "cuda": "12.4",
    "available": True,
    "devices": [["NVIDIA A100", 80 << 30], ["NVIDIA A100", 80 << 30]],
}
INFO = {"ServerVersion": "28.5.1", "CDISpecDirs": ["/etc/cdi", "/var/run/cdi"], "Runtimes": {"runc": {}}}
PODMAN = {"host": {"arch": "amd64"}, "version": {"Version": "4.3.1"}}


def csv(number=2, mig="Disabled"):
    return "".join(
        f"{index}, {UUIDS[index]}, NVIDIA A100 80GB PCIe, 81920, 550.54.15, {mig}\n"
        for index in range(number)
    )


def cdi(*names):
    devices = "".join(
        f'  - name: "{name}"\n    containerEdits:\n      deviceNodes: [{{path: /dev/nvidia0}}]\n'
        for name in names
    )
    head = "---\ncdiVersion: 0.5.0\ncontainerEdits:\n  hooks:\n    - hookName: createContainer\n"
    return f"{head}devices:\n{devices}kind: nvidia.com/gpu\n"


class Machine:
    """Files below `root`; what each program prints is a `Ran`, or an error to raise."""

    def __init__(self, root):
        self.root = root
        self.calls = []
        self.smi = Ran(code=0, out=csv())
        self.list = Ran(code=0)
        self.info = Ran(code=0, out=json.dumps(INFO))
        self.probe = Ran(code=0, out=json.dumps(TORCH) + "\n")
        self.others = Ran(code=0)

    def pci(self, address="0000:01:00.0", vendor="0x10de", kind="0x030200", driver="nvidia"):
        folder = self.root / "sys/bus/pci/devices" / address
        folder.mkdir(parents=True)
        for name, text in {"vendor": vendor, "class": kind, "device": "0x20b5"}.items():
            (folder / name).write_text(f"{text}\n")
        if driver:
            (folder / "driver").symlink_to(f"../../../bus/pci/drivers/{driver}")

    def file(self, path, text=""):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, command, timeout_s):
        self.calls.append(tuple(command))
        assert timeout_s > 0
        said = self._said(command)
        if isinstance(said, Exception):
            raise said
        return said

    def _said(self, command):
        match command:
            case ["nvidia-smi", "-L"]:
                return self.list
            case ["nvidia-smi", *_]:
                return self.smi
            case [_, "info", *_]:
                return self.info
            case [_, "run", *_]:
                return self.probe
        return self.others

    def detect(self, *wanted, needs_torch=True, **more):
        probe = Probe(
            docker=DOCKER,
            command=lambda name, arguments, script: (DOCKER, "run", f"--name={name}", *arguments, script),
            needs_torch=needs_torch,
        )
        return detect(wanted, probe, run=self.run, root=self.root, **more)


def working(root):
    """Return a machine with two GPUs, on which every layer works by CDI."""
    made = Machine(root)
    made.pci("0000:01:00.0")
    made.pci("0000:02:00.0")
    made.pci("0000:00:1f.0", vendor="0x8086", kind="0x030000", driver="i915")
    made.pci("0000:01:00.1", kind="0x040300", driver="snd_hda_intel")  # the audio device of a GPU
    made.file("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15\n")
    made.file("dev/nvidiactl")
    made.file("dev/nvidia-uvm")
    made.file("etc/cdi/nvidia.yaml", cdi("0", "1", *UUIDS[:2], "all"))
    return made


timed_out = Ran(code=None)
missing = FileNotFoundError(2, "No such file or directory")
denied = PermissionError(13, "Permission denied")
