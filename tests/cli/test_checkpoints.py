"""`oneflower checkpoints`: list, show, verify, compare, prune, export and roll back."""

import json
import math
import sys

import numpy as np
import pytest
import torch

from oneflower.checkpoints import MEMORY, Checkpoint, CheckpointReader, CheckpointStore, Signer
from oneflower.checkpoints.manifest import render, sign
from oneflower.cli.main import main


@pytest.fixture
def oneflower(monkeypatch, capsys):
    """Run the command line in this process; return exit code, output and errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["oneflower", "checkpoints", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def checkpoint(number):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(number)
    metrics = {
        "central": {
            str(n): {"accuracy": n / 10, "loss": math.nan if n == 2 else 1 / n} for n in range(1, number + 1)
        }
    }
    return Checkpoint(
        round=number,
        total_rounds=5,
        arrays={name: tensor.numpy() for name, tensor in model.state_dict().items()},
        state={"m/0.weight": np.zeros((2, 3), np.float32)},
        strategy="FedAdam",
        parameters={"server-lr": 0.1},
        app="image-classification",
        seed=42,
        metrics=metrics,
        versions={"flower": "1.25.0"},
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("FL_CHECKPOINT_PATH", raising=False)
    monkeypatch.delenv("FL_CHECKPOINT_KEEP", raising=False)
    root = tmp_path / "checkpoints"
    with CheckpointStore(root) as store:
        for number in (1, 2, 3):
            store.save(checkpoint(number))
    return root


def spoil(folder, number):
    path = folder / f"checkpoint_round_{number}.npz"
    path.write_bytes(path.read_bytes()[:-3])


def test_list_shows_size_metrics_and_verification_of_each_round(oneflower, folder):
    spoil(folder, 2)
    code, out, _ = oneflower("list", "--path", folder)
    assert code == 0
    header, first, second, third = out.splitlines()
    assert header.split() == ["round", "saved", "size", "strategy", "metrics", "verified"]
    assert "central accuracy 0.1, central loss 1" in first
    assert first.endswith("yes")
    assert "NO: the checkpoint of round 2" in second
    assert "checkpoint_round_2.npz has" in second
    assert third.split()[0] == "3"


def test_list_without_verifying_reads_no_data_and_says_so(oneflower, folder):
    spoil(folder, 2)
    code, out, _ = oneflower("list", "--no-verify", "--path", folder)
    assert code == 0
    assert out.count("not asked") == 3


def test_list_as_json_is_strict_and_complete(oneflower, folder):
    spoil(folder, 3)
    code, out, _ = oneflower("list", "--json", "--path", folder)
    document = json.loads(out, parse_constant=pytest.fail)
    assert (code, document["path"], document["set_aside"]) == (0, str(folder), [])
    assert [(row["round"], row["verified"]) for row in document["rounds"]] == [
        (1, True),
        (2, True),
        (3, False),
    ]
    assert document["rounds"][1]["metrics"] == {"central": {"accuracy": 0.2, "loss": "NaN"}}
    assert len(document["rounds"][0]["sha256"]) == 64


def test_list_names_what_was_set_aside(oneflower, folder):
    spoil(folder, 3)
    with CheckpointStore(folder) as store:
        store.latest()
    _, out, _ = oneflower("list", "--path", folder)
    assert "3 files were set aside and are not used: checkpoint_round_3.json.damaged-1" in out


@pytest.mark.parametrize("command", ["list", "verify", "sign"])
def test_a_folder_without_checkpoints_is_told(oneflower, tmp_path, monkeypatch, command):
    if command == "sign":
        monkeypatch.setenv("FL_CHECKPOINT_KEY", "a3f1c9d27b604e85f1d2c3b4a5968778")
    assert oneflower(command, "--path", tmp_path)[:2] == (0, f"No checkpoints in {tmp_path}.\n")


def test_a_missing_folder_is_an_error_and_is_not_created(oneflower, tmp_path):
    for command in (
        ["list"],
        ["verify"],
        ["show", 1],
        ["prune"],
        ["rollback", 1],
        ["diff", 1, 2],
        ["export", 1],
    ):
        code, _, err = oneflower(*command, "--path", tmp_path / "none")
        assert code == 3
        assert "does not exist" in err
    assert not (tmp_path / "none").exists()


def test_the_folder_may_come_from_the_variable(oneflower, folder, monkeypatch):
    monkeypatch.setenv("FL_CHECKPOINT_PATH", str(folder))
    assert oneflower("verify", 1)[0] == 0


def test_show_prints_the_manifest_and_the_arrays(oneflower, folder):
    code, out, _ = oneflower("show", 2, "--path", folder)
    assert code == 0
    assert "FedAdam" in out
    assert "model  1.num_batches_tracked  number  <i8" in out
    assert "state  m/0.weight             2x3     <f4" in out
    assert json.loads(oneflower("show", 2, "--json", "--path", folder)[1])["round"] == 2


def test_show_of_a_damaged_round_is_refused(oneflower, folder):
    spoil(folder, 2)
    code, _, err = oneflower("show", 2, "--path", folder)
    assert code == 3
    assert "damaged" in err


def test_verify_checks_all_rounds_and_fails_if_any_is_damaged(oneflower, folder):
    code, out, _ = oneflower("verify", "--path", folder)
    assert (code, out.count(": good")) == (0, 3)
    spoil(folder, 2)
    code, out, err = oneflower("verify", "--path", folder)
    assert (code, out.count(": good"), out.count("round 2: DAMAGED")) == (3, 2, 1)
    assert "1 of 3 checkpoints" in err
    assert oneflower("verify", 1, "--path", folder)[0] == 0
    assert oneflower("verify", 2, "--path", folder)[0] == 3
    assert oneflower("verify", 9, "--path", folder)[0] == 3


def test_diff_gives_the_largest_and_mean_change_of_each_array(oneflower, folder):
    code, out, _ = oneflower("diff", 1, 3, "--json", "--path", folder)
    rows = {row["name"]: row for row in json.loads(out)["arrays"]}
    assert code == 0
    assert (rows["0.weight"]["largest"], rows["0.weight"]["mean"]) == (2.0, 2.0)
    assert rows["1.running_mean"]["largest"] == 0.0
    assert "0.weight" in oneflower("diff", 1, 3, "--path", folder)[1]


def test_prune_dry_run_lists_the_rounds_that_prune_then_deletes(oneflower, folder):
    with CheckpointStore(folder) as store:
        store.save(checkpoint(4))
    assert oneflower("prune", "--keep", 2, "--dry-run", "--path", folder)[1] == "Would remove rounds: 1, 2\n"
    assert CheckpointReader(folder).rounds() == (1, 2, 3, 4)
    assert oneflower("prune", "--keep", 2, "--every", 2, "--path", folder)[1] == "Removed rounds: 1\n"
    assert CheckpointReader(folder).rounds() == (2, 3, 4)
    assert oneflower("prune", "--keep", 1, "--path", folder)[0] == 3


def test_commands_that_write_are_refused_while_there_is_a_writer_and_readers_are_not(oneflower, folder):
    with CheckpointStore(folder):
        for command in (["rollback", 1], ["prune", "--keep", 2]):
            code, _, err = oneflower(*command, "--path", folder)
            assert code == 3
            assert "is written by process" in err
        assert oneflower("list", "--path", folder)[0] == 0


def test_rollback_makes_the_round_the_newest(oneflower, folder):
    code, out, _ = oneflower("rollback", 1, "--path", folder)
    assert (code, out) == (0, "The next run resumes at round 1. Rounds set aside: 2, 3\n")
    assert CheckpointReader(folder).latest().round == 1
    assert (folder / "checkpoint_round_3.npz.rolledback-1").exists()


def test_export_npz_is_the_model(oneflower, folder, tmp_path):
    target = tmp_path / "model.npz"
    assert oneflower("export", 2, "--output", target, "--path", folder)[:2] == (0, f"{target}\n")
    assert target.read_bytes() == (folder / "checkpoint_round_2.npz").read_bytes()


def test_export_pt_opens_with_weights_only_into_the_model(oneflower, folder, tmp_path):
    target = tmp_path / "model.pt"
    assert oneflower("export", 2, "--format", "pt", "--output", target, "--path", folder)[0] == 0
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    model.load_state_dict(torch.load(target, weights_only=True))
    assert model[0].weight.unique().tolist() == [2.0]
    assert model[1].num_batches_tracked.shape == ()


def test_export_safetensors_holds_the_same_bits(oneflower, folder, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    target = tmp_path / "model.safetensors"
    assert oneflower("export", 2, "--format", "safetensors", "--output", target, "--path", folder)[0] == 0
    back = safetensors.load_file(target)
    assert {name: (a.shape, a.tobytes()) for name, a in back.items()} == {
        name: (a.shape, a.tobytes()) for name, a in checkpoint(2).arrays.items()
    }


def test_export_without_its_library_says_what_to_install(oneflower, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    code, _, err = oneflower(
        "export", 2, "--format", "safetensors", "--output", tmp_path / "m", "--path", folder
    )
    assert code == 3
    assert "pip install 'oneflower[export]'" in err


def test_export_errors_name_the_formats_and_the_path_that_cannot_be_written(oneflower, folder, tmp_path):
    code, _, err = oneflower("export", 2, "--format", "onnx", "--path", folder)
    assert code == 3
    assert "expected one of npz, pt, safetensors, keras, weights.h5, ubj" in err
    code, _, err = oneflower("export", 2, "--output", tmp_path / "none" / "m.npz", "--path", folder)
    assert code == 7
    assert "The folder does not exist" in err


def test_export_writes_into_the_current_folder_by_default(oneflower, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert oneflower("export", 2, "--path", folder)[:2] == (0, "model_round_2.npz\n")
    assert (tmp_path / "model_round_2.npz").exists()


KEY = "a3f1c9d27b604e85f1d2c3b4a5968778"


def test_sign_signs_a_folder_of_before_and_list_says_which_rounds_are_not(oneflower, folder, monkeypatch):
    monkeypatch.setenv("FL_CHECKPOINT_KEY", KEY)
    code, out, _ = oneflower("list", folder)
    assert code == 0
    assert "is not signed" in out
    code, out, err = oneflower("sign", folder)
    assert (code, err) == (0, "")
    assert out.count(": signed\n") == len(CheckpointReader(folder).rounds())
    code, out, _ = oneflower("list", folder)
    assert "is not signed" not in out
    monkeypatch.setenv("FL_CHECKPOINT_KEY", KEY[::-1])
    assert oneflower("verify", folder)[0] == 3


def test_verify_tells_what_is_not_signed_from_what_is_damaged(oneflower, folder, monkeypatch):
    """Each has its own word and its own remedy, and the command to run is whole."""
    monkeypatch.setenv("FL_CHECKPOINT_KEY", KEY)
    code, out, err = oneflower("verify", folder)
    assert code == 3
    assert "round 3: UNSIGNED, " in out
    assert f"`oneflower checkpoints sign {folder}`" in out
    assert "are not signed with this key" in err
    assert "DAMAGED" not in out
    assert "restore" not in out + err
    oneflower("sign", folder)
    monkeypatch.setenv("FL_CHECKPOINT_KEY", KEY[::-1])
    code, out, err = oneflower("verify", folder)
    assert code == 3
    assert "round 3: WRONG KEY, " in out
    assert "Set the key that it was signed with" in out
    (folder / "checkpoint_round_3.json").write_text("{}")
    code, out, err = oneflower("verify", folder)
    assert code == 3
    assert "round 3: DAMAGED, " in out
    assert "damaged: round 3" in err


def test_verify_finds_what_another_training_signed_with_the_same_key(oneflower, folder, monkeypatch):
    """The state folder around it remembers which training is its own; without it the newest round says it."""
    monkeypatch.setenv("FL_CHECKPOINT_KEY", KEY)
    oneflower("sign", folder)
    manifest = folder / "checkpoint_round_2.json"
    content = CheckpointReader(folder).verify(2).content
    manifest.write_bytes(render(sign(content, Signer(key=KEY, training="d" * 32))))
    code, out, err = oneflower("verify", folder)
    assert code == 3
    assert "round 2: OTHER TRAINING, " in out
    assert "No training starts from them" in err
    (folder.parent / MEMORY).write_text(json.dumps({"training": "d" * 32}))
    code, out, _ = oneflower("verify", folder)
    assert code == 3
    assert "round 2: good" in out
    assert out.count("OTHER TRAINING") == len(CheckpointReader(folder).rounds()) - 1


def test_without_the_key_verify_and_list_say_that_signatures_were_not_checked(oneflower, folder, monkeypatch):
    for command in ("verify", "list"):
        assert "FL_CHECKPOINT_KEY" not in oneflower(command, folder)[1]
    monkeypatch.setenv("FL_CHECKPOINT_KEY", KEY)
    oneflower("sign", folder)
    for command in ("verify", "list"):
        assert "FL_CHECKPOINT_KEY" not in oneflower(command, folder)[1]
    monkeypatch.delenv("FL_CHECKPOINT_KEY")
    for command in ("verify", "list"):
        code, out, _ = oneflower(command, folder)
        assert code == 0
        assert "only FL_CHECKPOINT_KEY, which is not set, can check" in out
    assert json.loads(oneflower("list", folder, "--json")[1])["rounds"][0]["signature_checked"] is False


def test_a_list_of_any_length_is_cut_and_says_so(oneflower, folder, monkeypatch):
    monkeypatch.setattr("oneflower.cli.checkpoints._MOST_ROWS", 2)
    for number in range(100, 110):
        (folder / f"checkpoint_round_{number}.json").symlink_to("nowhere")
        (folder / f"checkpoint_round_{number}.npz.damaged-1").write_text("")
    rounds = len(CheckpointReader(folder).rounds())
    code, out, _ = oneflower("list", folder)
    assert code == 0
    assert out.count("NO: ") == 2
    assert f"{rounds - 2} older rounds are not shown; --json lists all." in out
    assert "10 files were set aside" in out
    assert "and 8 more" in out


def test_sign_without_a_key_says_how_to_make_one(oneflower, folder):
    code, _, err = oneflower("sign", folder)
    assert code == 2
    assert "openssl rand -hex 32" in err


def test_a_weak_key_is_refused_and_not_shown(oneflower, folder, monkeypatch):
    monkeypatch.setenv("FL_CHECKPOINT_KEY", "tooshort")
    code, out, err = oneflower("list", folder)
    assert code == 2
    assert "tooshort" not in out + err


@pytest.mark.parametrize("command", [("list",), ("show", "3"), ("verify",)])
def test_text_of_a_manifest_moves_no_cursor(oneflower, folder, command):
    path = folder / "checkpoint_round_3.json"
    content = json.loads(path.read_text())
    del content["manifest_sha256"]
    content["strategy"] = "\x1b[2J\x9b31mEVIL\nround 4: good\u202e"
    content["metrics"]["train"] = {"3": {"\x1b[31mX\x1b]0;t\x07": 1.0}}
    path.write_bytes(render(content))
    _, out, err = oneflower(*command, folder)
    assert (out + err).replace("\n", "").isprintable()
    assert "\nround 4: good" not in out
