"""Events of a training with GPUs, for the tests of all that shows them."""

from oneflower.gpu.readings import Reading

from ..making import entry

FINE = Reading(
    index=0,
    uuid="GPU-1",
    name="NVIDIA H200",
    utilisation=0.934,
    memory_used_bytes=60_000_000_000,
    memory_total_bytes=150_000_000_000,
    temperature_c=64.0,
    power_w=505.2,
    ecc_errors=0,
)
BAD = Reading(
    index=1,
    name="NVIDIA H200",
    utilisation=0.0,
    memory_used_bytes=149_000_000_000,
    memory_total_bytes=150_000_000_000,
    temperature_c=91.0,
    ecc_errors=3,
    xids={79: 1, 31: 2},
)
MIG = Reading(index=0, instance=7, name="NVIDIA H200", memory_used_bytes=10**9)


def client(number, *gpus, device="NVIDIA H200", name=None):
    node = f"99900{number:05d}"
    return [
        entry("client_joined", client=node, connected=1),
        entry("client_named", client=node, name=name or f"edge-{number}", partition=number),
        entry("gpu_seen", client=node, round=1, device=device, gpus=gpus),
    ]


STARTED = entry("training_started", rounds=5)
SOME = [
    STARTED,
    *client(1, FINE),
    *client(2, FINE, BAD),
    *client(3, device="cpu"),
    *client(4, MIG, device=""),
]
