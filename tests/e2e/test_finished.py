"""One training on a real cluster, brought to its end once: what commands say of it, and what may follow."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from urllib.error import URLError

import numpy as np
import pytest
from typer.testing import CliRunner

from oneflower.cli.main import app as oneflower

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("finished")]

CLIENTS, ROUNDS = 2, 3


def sha256(output):
    return re.search(r"^SHA-256 +([0-9a-f]{64})$", output, re.MULTILINE)[1]


def said(*arguments):
    done = CliRunner().invoke(oneflower, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return done.output


def asked(address):
    """Return what a page answers; it says its address before it listens."""
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(address, timeout=60) as answer:
                return answer.read().decode()
        except URLError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


class TestLooking:
    """Nothing of these changes the folder."""

    def test_a_training_runs_to_its_end_and_leaves_its_model_and_report(self, finished, simulated):
        assert "round 3 of 3 done" in finished.output
        with np.load(finished.state / "checkpoints" / "checkpoint_round_3.npz") as model:
            assert model["w"].shape == (8,)
        assert "1 of" not in (finished.state / "report.html").read_text()
        assert not (finished.state / "processes.json").exists()
        assert sha256(finished.output) == simulated(CLIENTS, NUM_ROUNDS="3")

    def test_each_process_has_files_of_its_own(self, finished):
        homes = finished.state / "flwr-home"
        found = {path.relative_to(homes).parts[0] for path in homes.rglob("*.py")}
        assert found >= {"superlink", "supernode-0", "supernode-1"}, "processes shared an app's files"

    def test_what_the_store_says_is_in_the_log_at_the_level_that_was_asked_for(self, finished):
        assert "old checkpoints removed rounds=1" in (finished.state / "logs" / "superlink.log").read_text()

    def test_the_status_says_that_it_has_finished(self, finished):
        assert re.search(r"rounds +3 of 3", said("status", "--state", finished.state))
        assert sha256(finished.output) in said("status", "--state", finished.state, "--json")

    def test_the_report_holds_every_round_and_the_final_model(self, finished):
        told = json.loads(said("report", "--state", finished.state, "--format", "json", "--output", "-"))
        assert (told["training"]["phase"], told["training"]["round"]) == ("finished", ROUNDS)
        assert sha256(finished.output) in json.dumps(told)

    def test_the_checkpoints_that_are_kept_verify(self, finished):
        said("checkpoints", "verify", "--path", finished.state / "checkpoints")
        shown = said("checkpoints", "show", "3", "--path", finished.state / "checkpoints")
        assert sha256(finished.output) in shown

    def test_the_logs_name_each_client_of_each_round(self, finished):
        events = list(map(json.loads, said("logs", "--state", finished.state, "--json").splitlines()))
        replies = [e for e in events if e["event"] == "reply_received" and e["phase"] == "train"]
        assert sorted(e["round"] for e in replies) == sorted([*range(1, ROUNDS + 1)] * CLIENTS)

    def test_metrics_and_comparison_read_it(self, finished):
        assert "oneflower_round 3.0" in said("metrics", "--state", finished.state)
        assert "FedAvg" in said("compare", finished.state)

    def test_the_page_shows_it(self, finished):
        command = [sys.executable, "-m", "oneflower.cli.main", "dashboard", "--port", "0"]
        page = subprocess.Popen(
            [*command, "--journal", str(finished.state / "journal.jsonl")], stdout=subprocess.PIPE, text=True
        )
        try:
            address = re.search(r"http://[\d.:]+/", page.stdout.readline())[0]
            assert "All 3 rounds are done" in asked(address)
        finally:
            page.terminate()
            page.communicate(timeout=60)


class TestGoingOn:
    """Each on a copy of the folder."""

    def test_it_is_known_as_finished_and_not_run_again(self, up_again, finished):
        boots = len(up_again.events("cluster_started"))
        code, output = up_again.run(CHECKPOINT_KEEP="2")
        assert (code, sha256(output)) == (0, sha256(finished.output))
        assert "finished already; nothing was started" in output
        assert len(up_again.events("cluster_started")) == boots

    @pytest.mark.parametrize("rounds", ["3", "4"])
    def test_a_key_that_did_not_sign_it_ends_it_before_anything_starts(self, up_again, rounds):
        """Finished or not, with the documented exit code, and the reason once."""
        boots = len(up_again.events("cluster_started"))
        key = "a3f1c9d27b604e85f1d2c3b4a5968778"
        code, output = up_again.run(CHECKPOINT_KEEP="2", CHECKPOINT_KEY=key, NUM_ROUNDS=rounds)
        assert code == 3, output
        assert output.count("is not signed") == 1
        assert f"oneflower checkpoints sign {up_again.state / 'checkpoints'}`" in output
        assert len(up_again.events("cluster_started")) == boots

    def test_another_strategy_is_refused(self, up_again):
        code, output = up_again.run(STRATEGY="FedAdam", CHECKPOINT_KEEP="2")
        assert code == 2
        assert "strategy was app, is FedAdam" in output

    def test_it_goes_on_with_more_rounds(self, up_again, simulated):
        code, output = up_again.run(NUM_ROUNDS="4")
        assert code == 0, output
        assert "training resumes after round 3 of 4" in output
        assert [e.round for e in up_again.events("round_completed")] == [1, 2, 3, 4]
        assert sha256(output) == simulated(CLIENTS, NUM_ROUNDS="4")

    def test_a_damaged_checkpoint_is_in_the_log_and_the_round_is_trained_again(self, up_again, simulated):
        (up_again.state / "checkpoints" / "checkpoint_round_3.npz").write_bytes(b"torn")
        code, output = up_again.run(CHECKPOINT_KEEP="2", LOG_LEVEL="WARNING", NUM_ROUNDS="4")
        assert code == 0, output
        before = (up_again.state / "logs" / "superlink.log").read_text()
        assert "checkpoint damaged round=3" in before
        assert sha256(output) == simulated(CLIENTS, NUM_ROUNDS="4")

    def test_fresh_sets_the_old_state_aside(self, up_again):
        kept = (up_again.state / "journal.jsonl").read_bytes()
        code, output = up_again.run("--fresh", NUM_ROUNDS="1", SEED="7")
        assert code == 0, output
        assert (up_again.state.with_name("state.1") / "journal.jsonl").read_bytes() == kept
        assert [e.round for e in up_again.events("round_completed")] == [1]
