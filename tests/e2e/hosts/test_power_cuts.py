"""A power cut in any moment of a stage: the boot after it comes up READY, without a human."""

import os
import random
import time

import pytest
from hosts_watching import ASKED_FOR, TRAINING, failure_of, own_kind

CUTS = int(os.environ.get("CUTS") or (20 if ASKED_FOR else 4))
SEED = int(os.environ.get("SEED") or 1)
pytestmark = [pytest.mark.hosts, pytest.mark.timeout(300 + 120 * CUTS)]
STAGES = ("configure", "bootstrap")
PIPE = "/var/log/one-appliance/one_service_log.pipe"
STATUS = "/etc/one-appliance/status"


def until(condition, timeout_s):
    """Look often: a stage may be short."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return found


def seconds_of_the_stages(host, wait):
    """Boot undisturbed and measure both stages."""
    host.boot()
    began = {}
    for stage in STAGES:
        assert until(lambda stage=stage: host.stage() == f"{stage}_started", 120), failure_of(host)
        began[stage] = time.monotonic()
    wait(f"{host.role} is READY", host.is_ready, describe=lambda: failure_of(host))
    assert until(lambda: host.stage() == "bootstrap_success", 120)
    ended = time.monotonic()
    return {"configure": began["bootstrap"] - began["configure"], "bootstrap": ended - began["bootstrap"]}


def lose(host, rng):
    """What a disk may lose besides: the status was truncated, or written in part."""
    kept = rng.choice(["all", "all", "nothing", "a part"])
    if kept != "all":
        text = host.file(STATUS).read_text()
        host.file(STATUS).write_text("" if kept == "nothing" else text[: rng.randrange(1, len(text) - 1)])
    return kept


def cut_in_a_stage(host, stage, seconds, rng):
    """Boot, cut the power at a moment of a stage, and say what was left; one that comes late is repeated."""
    span = seconds[stage]
    while True:
        host.kill()
        host.boot()
        assert until(lambda: host.stage() == f"{stage}_started" and host.has_begun(), 120), failure_of(host)
        moment = rng.uniform(0, span)
        time.sleep(moment)
        host.kill()
        if host.stage().endswith("_started"):
            break
        span = moment
    left = f"{host.stage()}{', its pipe' if host.file(PIPE).exists() else ''}"
    return f"{moment:.2f} s into {stage}: left {left}; of the status the disk kept {lose(host, rng)}"


@own_kind
def test_a_boot_after_a_power_cut_in_a_stage_comes_up(lab, wait, tell):
    """Both stages of both roles in turn, at moments drawn from SEED; CUTS says how many."""
    rng = random.Random(SEED)
    tell(f"SEED={SEED} CUTS={CUTS}")
    link, node = lab.add("superlink", 10, **TRAINING), lab.add("supernode", 11)
    lab.start_onegate()
    seconds = {host: seconds_of_the_stages(host, wait) for host in (link, node)}
    pipes = 0
    for number in range(CUTS):
        host, stage = (link, node)[number // 2 % 2], STAGES[number % 2]
        tell(f"POWER CUT {number + 1} of {host.role}, " + cut_in_a_stage(host, stage, seconds[host], rng))
        pipes += host.file(PIPE).exists()
        host.boot()
        wait(f"{host.role} is READY", host.is_ready, describe=lambda host=host: failure_of(host))
        assert until(lambda host=host: host.stage() == "bootstrap_success", 120), failure_of(host)
        assert until(lambda host=host: not host.file(PIPE).exists(), 10)
    tell(f"{CUTS} power cuts, {pipes} left the pipe of the log, and every boot after one came up READY")


@own_kind
def test_without_the_images_own_unit_the_same_power_cut_keeps_a_machine_down(lab, wait, tell):
    """The boot fails on the pipe, and for ever on an empty status: what the unit is there for."""
    host = lab.add("superlink", 10)
    lab.start_onegate()
    wanted = host.file("/etc/systemd/system/one-context.service.wants/oneflower-after-power-cut.service")
    wanted.rename(host.disk / "wanted")
    host.file(PIPE).parent.mkdir(parents=True)
    os.mkfifo(host.file(PIPE))
    host.boot()
    wait(
        "the stage has failed", lambda: host.stage() == "configure_failure", describe=lambda: failure_of(host)
    )
    wait("the journal says why", lambda: host.says("File exists"), timeout_s=60)
    assert host.published() == {"gate": False}
    host.kill()
    host.file(STATUS).write_text("")
    host.boot()
    wait("the stage was refused", lambda: host.says("missing installation step"))
    host.kill()
    (host.disk / "wanted").rename(wanted)
    host.boot()
    wait("with the unit it is READY", host.is_ready, describe=lambda: failure_of(host))
