"""`oneflower template`: what is printed for OpenNebula, and what is refused before it could be sent there."""

import json
import sys

import pytest
import yaml

from oneflower.cli.main import main


@pytest.fixture
def template(monkeypatch, capsys):
    """Run the command line in this process; return exit code, output and errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["oneflower", "template", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_answers_are_one_json_object_with_the_network(template):
    code, out, err = template("answers", "--form", "7", "--network", "3", "FL_NUM_ROUNDS=20")
    assert (code, err) == (0, "")
    answers = json.loads(out)
    assert answers["user_inputs_values"]["FL_NUM_ROUNDS"] == "20"
    assert answers["networks_values"] == [{"Private": {"id": "3"}}]


def test_warnings_do_not_reach_the_file(template):
    code, out, err = template("answers", "--network", "0", "FL_STRATEGY=Krum", "FL_NUM_MALICIOUS=1")
    assert code == 0
    assert json.loads(out)
    assert "raised to 5" in err


def test_wrong_answers_exit_2_with_all_problems_and_without_a_file(template):
    code, out, err = template("answers", "--network", "0", "FL_NUM_ROUNDS=0", "FL_SEEED=1")
    assert (code, out) == (2, "")
    assert "FL_NUM_ROUNDS is '0'" in err
    assert "did you mean FL_SEED?" in err


def test_a_network_must_be_named(template):
    """No network is a default that could be right."""
    code, out, err = template("answers")
    assert (code, out) == (2, "")
    assert "--network" in err


@pytest.mark.parametrize("options", [["vm", "--role", "supernode"], ["oneflow"]])
def test_all_inputs_are_asked_for_on_demand(template, options):
    assert "O|number|Random seed||42" not in template(*options)[1]
    everything = template(*options, "--all-inputs")[1]
    assert "O|text|Node config (key=value pairs)||" in everything


def test_a_shared_filesystem_is_a_disk(template):
    code, out, _ = template(
        "vm", "--role", "superlink", "--filesystem", "checkpoints=flower", "--filesystem", "data=9"
    )
    assert code == 0
    assert 'IMAGE = "flower"' in out
    assert 'IMAGE_ID = "9"' in out


def test_a_gpu_is_a_pci_device_of_a_pinned_machine(template):
    code, out, err = template("vm", "--role", "supernode", "--gpu", "01:00.0", "--hugepages", "1024")
    assert (code, err) == (0, "")
    assert 'SHORT_ADDRESS = "01:00.0"' in out
    assert "# MEMORY must stay a multiple of HUGEPAGE_SIZE, 1024 MiB." in out


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--role", "superlink", "--gpu", "01:00.0"], "template of the SuperNode"),
        (["--role", "supernode", "--gpu", "01:00.0", "--gpu", "01:00.0"], "given twice"),
        (["--role", "supernode", "--hugepages", "2"], "belong to --gpu"),
        (["--role", "supernode", "--gpu", "01:00.0", "--hugepages", "3"], "expected 2 or 1024"),
    ],
)
def test_a_gpu_that_opennebula_could_not_hand_over_is_refused(template, options, reason):
    code, out, err = template("vm", *options)
    assert (code, out) == (2, "")
    assert reason in " ".join(err.split())


@pytest.mark.parametrize("command", [["oneflow"], ["answers", "--network", "0"]])
def test_a_service_with_gpus_asks_for_their_variables(template, command):
    assert "FL_GPU_ENABLED" not in template(*command)[1]
    assert "FL_GPU_ENABLED" in template(*command, "--gpu")[1]


@pytest.mark.parametrize("pair", ["checkpoints", "checkpoints=", "state=flower", "=flower"])
def test_a_shared_filesystem_that_cannot_be_read_is_refused(template, pair):
    code, out, err = template("vm", "--role", "superlink", "--filesystem", pair)
    assert (code, out) == (2, "")
    assert "expected FOLDER=IMAGE" in err


def test_a_folder_is_shared_once(template):
    code, _, err = template("vm", "--role", "supernode", "--filesystem", "data=1", "--filesystem", "data=2")
    assert code == 2
    assert "at most once" in err


def test_an_image_entry_holds_size_and_checksums(template, tmp_path):
    path = tmp_path / "oneflower-supernode.qcow2"
    path.write_bytes(b"QFI\xfb" + bytes(20) + (4096).to_bytes(8, "big"))
    url = "https://example.org/oneflower-supernode.qcow2"
    code, out, err = template("image-entry", "--role", "supernode", "--image", path, "--url", url)
    assert (code, err) == (0, "")
    (image,) = yaml.safe_load(out)["images"]
    assert (image["url"], image["size"], len(image["checksum"]["sha256"])) == (url, 4096, 64)
