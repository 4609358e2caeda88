"""The check of a GPU keeps its time, says what it left out, and never calls a failure a success."""

import importlib
import json
import sys
import time
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def gpu_check(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("gpu_check")


def runner(gpu_check, folder, device="cpu", seconds=60.0):
    return gpu_check.Runner(folder, device, time.monotonic() + seconds)


def trained(gpu_check, **values):
    return gpu_check.Trained(**{"code": 0, "text": "", "sha256": "a" * 64, "round_s": 1.0, **values})


def test_without_a_gpu_what_needs_one_is_not_run(gpu_check, tmp_path):
    run = runner(gpu_check, tmp_path)
    assert gpu_check.checked(run, gpu_check.out_of_memory, needs_cuda=True) == "not run: no CUDA device"
    assert run.trainings == 0


def test_no_check_is_begun_when_the_time_is_over(gpu_check, tmp_path):
    run = runner(gpu_check, tmp_path, seconds=0)
    results = {
        gpu_check.checked(run, check, needs_cuda=needs) for _, check, needs in gpu_check.CHECKS if not needs
    }
    assert results == {"not finished: no time left"}
    assert run.trainings == 0


def test_models_that_differ_and_trainings_that_fail_are_failures(gpu_check, tmp_path):
    run = runner(gpu_check, tmp_path)
    good, other = trained(gpu_check), trained(gpu_check, sha256="b" * 64)
    bad = trained(gpu_check, code=8, sha256="", text="error: no GPU can be used")
    for first, second, words in ((good, other, "differ"), (good, bad, "no GPU can be used")):
        result = gpu_check.checked(run, lambda _, a=first, b=second: gpu_check.equal(a, b), needs_cuda=False)
        assert result.startswith("FAILED: ")
        assert words in result
    assert gpu_check.equal(good, good) == "equal: aaaaaaaaaaaa"


@pytest.mark.parametrize(("device", "enabled"), [("cuda", "YES"), ("cpu", "NO")])
def test_a_training_asks_for_the_device_and_takes_nothing_from_the_environment(
    gpu_check, tmp_path, monkeypatch, device, enabled
):
    monkeypatch.setenv("FL_GPU_ENABLED", "maybe")
    run = runner(gpu_check, tmp_path, device)
    command, environ = run.command("simulate", tmp_path / "state", gpu_check.MNIST)
    text = (tmp_path / "state.sh").read_text()
    assert f"FL_GPU_ENABLED='{enabled}'\n" in text
    assert f"FL_GPU_REQUIRED='{enabled}'\n" in text
    assert "FL_GPU_ENABLED" not in environ
    assert command[command.index("--clients") + 1] == "2"


def test_the_section_names_the_card_and_every_check(gpu_check):
    text = gpu_check.section("NVIDIA X", [("one seed twice", "equal: abc")], 12.3)
    assert text.startswith("### Measured on NVIDIA X\n")
    assert "| one seed twice | equal: abc |" in text
    assert "12 seconds in all." in text


def test_a_machine_without_a_gpu_is_told_how_to_try_the_script(gpu_check, monkeypatch, capsys):
    monkeypatch.setattr(gpu_check, "card", lambda: "")
    assert gpu_check.main([]) == 2
    assert "--device cpu tries the script" in capsys.readouterr().err


def test_the_time_limit_is_below_five_minutes(gpu_check):
    assert gpu_check.MOST_S + 15 < 300


def journal(folder, *events):
    folder.mkdir(exist_ok=True)
    (folder / "journal.jsonl").write_text("".join(json.dumps(each) + "\n" for each in events))
    return folder


def test_a_row_says_on_which_gpu_the_clients_trained(gpu_check, tmp_path):
    seen = {"event": "gpu_seen", "device": "NVIDIA X", "gpus": [{"index": 0, "memory_used_bytes": 3 << 30}]}
    blind = {"event": "gpu_seen", "device": "NVIDIA X", "gpus": [{"index": 0, "memory_used_bytes": None}]}
    found = gpu_check.gpus_seen(journal(tmp_path / "a", blind, seen))
    assert found == "on NVIDIA X, at most 3.0 GiB of its memory in use"
    assert gpu_check.gpus_seen(journal(tmp_path / "b", blind)) == "on NVIDIA X"
    assert not gpu_check.gpus_seen(journal(tmp_path / "c"))
    assert gpu_check.shown(trained(gpu_check, seen=found), "") == f"1.0 s a round, {found}"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n", "580.95.05"),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\n", "550.54.15"),
        ("", "unknown"),
    ],
)
def test_the_driver_is_named(gpu_check, tmp_path, monkeypatch, text, version):
    (tmp_path / "version").write_text(text)
    monkeypatch.setattr(gpu_check, "DRIVER", tmp_path / "version")
    assert gpu_check.driver() == version


def test_without_a_fetched_model_the_llm_app_gets_a_tiny_one(gpu_check, tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setenv("ONEFLOWER_CACHE", str(tmp_path / "none"))
    run = runner(gpu_check, tmp_path)
    assert gpu_check.is_model(run.tiny_model())


def test_a_training_that_had_ended_when_it_was_killed_resumes_nothing(gpu_check, tmp_path, monkeypatch):
    run = runner(gpu_check, tmp_path)
    rounds = iter([[], [1.0], [1.0] * gpu_check.ROUNDS])
    monkeypatch.setattr(gpu_check, "rounds_of", lambda _: next(rounds))
    monkeypatch.setattr(
        run.__class__, "command", lambda *_, **__: ([sys.executable, "-c", "import time; time.sleep(60)"], {})
    )
    result = gpu_check.checked(run, gpu_check.killed_and_resumed, needs_cuda=False)
    assert result == "FAILED: killed after round 2 of 2: nothing was left to resume"
