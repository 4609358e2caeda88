"""With another Flower, or none, everything that needs Flower says so and ends with exit code 4."""

import subprocess
import sys
from pathlib import Path

import pytest

from oneflower.errors import FlowerVersionError
from oneflower.flower.launch import PROGRAMS

from . import other_flowers

PYTHON = (sys.executable, "-P")
LAUNCH = (*PYTHON, "-m", "oneflower.flower.launch")
CLI = (*PYTHON, "-m", "oneflower.cli.main")
INSTALLED = {
    "1.26.0": (other_flowers.same_code, "Flower 1.26.0 is installed"),
    "2.0.0": (other_flowers.public_only, "Flower 2.0.0 is installed"),
    "none": (other_flowers.none, "Flower is not installed"),
}
ROOT = Path(__file__).parents[2]
LOAD = """
import sys
sys.path.insert(0, {folder!r})
try:
    import {module}
except Exception as error:
    sys.exit(f"caught {{error!r}}")
"""
APPS = ("anomaly-detection", "image-classification", "llm-fine-tuning", "my-app")
SWITCHED_OFF = {"FL_FLOWER_WORKAROUNDS": "NO", "FL_FLOWER_SPEEDUPS": "NO", "FL_WARM_EXECUTOR": "NO"}


@pytest.fixture(scope="module", params=INSTALLED)
def other(request, tmp_path_factory):
    """Run commands where another Flower is installed; give its name in the error too."""
    install, said = INSTALLED[request.param]
    environ = install(tmp_path_factory.mktemp("flower"))

    def run(*command, **variables):
        return subprocess.run(
            command,
            env={**environ, **variables},
            cwd=tmp_path_factory.mktemp("cwd"),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    run.said, run.environ = said, environ
    return run


def is_refused(done, said):
    """Whether a program has said which Flower is installed, which is supported, and what to do."""
    assert done.returncode == FlowerVersionError.exit_code == 4, done.stderr
    assert said in done.stderr
    assert "oneflower supports Flower 1.25.0" in done.stderr
    assert f"{sys.executable} -m pip install flwr==1.25.0" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    return True


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_program_is_launched(other, program):
    assert is_refused(other(*LAUNCH, program, "--insecure"), other.said)


def test_the_switches_make_no_difference(other):
    """What they turn off is not all that is written for one version of Flower."""
    assert is_refused(other(*LAUNCH, "superlink", "--insecure", **SWITCHED_OFF), other.said)


@pytest.mark.parametrize(
    "command",
    [
        ("up", "--nodes", "1"),
        ("supervise", "--app", "."),
        ("simulate", "--clients", "2"),
        ("app", "check", "."),
    ],
    ids=lambda command: command[0],
)
def test_a_command_that_needs_flower_refuses(other, command):
    assert is_refused(other(*CLI, *command), other.said)


@pytest.mark.parametrize(
    "line",
    [
        "import oneflower.sdk",
        "from oneflower.sdk import train",
        "from oneflower.sdk.client import RoundInfo",
        "from oneflower.sdk.torch_app import fit",
        "from oneflower.flower import train",
    ],
)
def test_what_apps_import_ends_their_process(other, line):
    code = f"import warnings; warnings.simplefilter('ignore'); {line}"
    assert is_refused(other(*PYTHON, "-c", code), other.said)


@pytest.mark.parametrize("part", ["server", "client"])
@pytest.mark.parametrize("app", APPS)
def test_an_app_ends_when_flower_loads_it(other, app, part):
    """The ServerApp and the ClientApp of each app; Flower's own `load_app` catches every Exception."""
    if other.said == INSTALLED["none"][1]:
        pytest.skip("the app imports Flower itself, before oneflower")
    load = LOAD.format(folder=str(ROOT / "apps" / app), module=f"{app.replace('-', '_')}.{part}")
    assert is_refused(other(*PYTHON, "-c", load), other.said)


@pytest.mark.parametrize(
    "command",
    [
        ("--version",),
        ("--help",),
        ("config", "check"),
        ("config", "show"),
        ("config", "run-config"),
        ("template", "vm", "--help"),
        ("models", "--help"),
        ("new", "made"),
        ("dashboard", "--help"),
        ("appliance", "--help"),
    ],
    ids=" ".join,
)
def test_a_command_that_needs_no_flower_works(other, command):
    done = other(*CLI, *command)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["status", "logs", "report"])
def test_a_reader_of_a_training_works(other, command, tmp_path):
    (tmp_path / "journal.jsonl").write_text("")
    done = other(*CLI, command, "--journal", str(tmp_path / "journal.jsonl"))
    assert "Flower" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_guard_goes_on_when_flower_is_replaced_under_a_running_program(other):
    """It needs nothing of Flower's; a guard that refused would leave a SuperLink alone after an upgrade."""
    code = (
        "import os, subprocess, sys, time\n"
        "guard = subprocess.Popen([sys.executable, '-P', '-m', 'oneflower.flower.guard', str(os.getpid())])\n"
        "time.sleep(3)\n"
        "print(guard.poll())\n"
    )
    assert other(*PYTHON, "-c", code).stdout == "None\n"
