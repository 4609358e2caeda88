"""The failures that a training survives without a human, with real Flower processes killed with -9."""

import pytest
from scene import NODES

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SUPERLINK, SUPERVISOR = "superlink", "supervisor"


def rounds(scene):
    return sorted(scene.history())


class TestSuperNode:
    """Scenario 1."""

    def test_a_round_ends_with_the_others_and_the_node_takes_part_again(self, scene):
        site = scene(
            MIN_FIT_CLIENTS="2",
            MIN_AVAILABLE_CLIENTS="2",
            MIN_EVALUATE_CLIENTS="2",
            NUM_ROUNDS="40",
            pause_s=4.0,
        )
        site.start()
        site.wait_for("round_completed", round=1)
        site.wait_for("round_started", round=3)
        site.hold_down("supernode-2")
        site.wait_for("round_completed", round=3, valid=2)
        site.wait_for("client_left")
        site.start("supernode-2")
        site.wait_for("round_completed", valid=3, after=site.count("round_completed", valid=3))
        assert not site.events("run_lost")

    def test_below_the_minimum_a_round_fails_and_is_tried_again_when_the_node_is_back(self, scene, simulated):
        site = scene(NUM_ROUNDS="4", pause_s=8.0)  # the node goes while it trains, on a slow machine, too
        site.start()
        site.wait_for("round_started", round=3)
        site.hold_down("supernode-2")
        assert "needed" in site.wait_for("round_failed", round=3).reason
        site.start("supernode-2")
        assert site.finish().sha256 == simulated(NODES, NUM_ROUNDS="4")
        assert rounds(site) == [1, 2, 3, 4]


class TestSuperLink:
    """Scenario 2, and the other processes beside it."""

    def test_every_process_of_the_superlinks_side_may_be_killed_in_turn(self, scene, simulated):
        """The SuperLink's tree, the ServerApp, the supervisor, then everything at once."""
        site = scene(NUM_ROUNDS="30")
        site.start()
        site.wait_for("round_started", round=2)
        assert site.kill(SUPERLINK) >= 3
        assert "SuperLink" in site.wait_for("run_lost").reason
        assert site.wait_for("training_resumed").round == 1

        site.wait_for("round_started", round=4)
        assert site.kill(program="serverapp") == 1
        site.wait_for("run_lost", after=1)
        assert site.wait_for("training_resumed", after=1).round == 3

        site.wait_for("round_started", round=5)
        site.kill(SUPERVISOR)
        site.wait_for("supervisor_state", state="waiting", reason="", after=1)
        site.wait_for("round_completed", after=len(site.events("round_completed")))
        assert len(site.events("run_submitted")) == 3
        assert "is followed again" in site.log(SUPERVISOR)

        started = site.wait_for("round_started", after=len(site.events("round_started")))
        site.kill(SUPERLINK, SUPERVISOR, *site.supernodes)
        assert site.finish().sha256 == simulated(NODES, NUM_ROUNDS="30")
        assert rounds(site) == list(range(1, 31))
        assert site.wait_for("training_resumed", after=2).round >= started.round - 1

    def test_a_finished_training_is_never_run_again(self, scene):
        site = scene(NUM_ROUNDS="1", pause_s=0.0)
        site.start()
        site.finish()
        site.wait_for("supervisor_state", state="finished")
        site.kept[SUPERVISOR].join_end()
        assert site.kept[SUPERVISOR].codes == [0]
        site.start(SUPERVISOR)
        site.kept[SUPERVISOR].join_end(count=2)
        assert site.kept[SUPERVISOR].codes == [0, 0]
        assert "nothing was submitted" in site.log(SUPERVISOR)
        assert len(site.events("run_submitted")) == 1

    def test_without_checkpoints_it_starts_from_round_1_and_says_what_to_set(self, scene, simulated):
        site = scene(NUM_ROUNDS="3", CHECKPOINT_ENABLED="NO")
        site.start()
        site.wait_for("round_started", round=2)
        site.kill(SUPERLINK)
        assert site.finish().sha256 == simulated(NODES, NUM_ROUNDS="3")
        assert len(site.events("training_started")) == 2
        assert not site.events("training_resumed")
        log = site.log(SUPERVISOR)
        assert "checkpointing is off" in log
        assert "FL_CHECKPOINT_ENABLED=YES" in log


class TestNewMachine:
    """Scenario 3: only the folder of the checkpoints survives."""

    def test_a_new_state_folder_goes_on_from_the_checkpoints_and_passes_over_a_damaged_one(
        self, scene, simulated
    ):
        first = scene(NUM_ROUNDS="7")
        first.start()
        first.wait_for("checkpoint_saved", round=3)
        first.close()
        kept = newest_round(first)

        second = scene(NUM_ROUNDS="7")
        second.use_state("second")
        second.start()
        assert second.wait_for("training_resumed").round == kept
        second.wait_for("checkpoint_saved", round=kept + 1)
        second.close()
        kept = newest_round(second)
        damaged = second.checkpoints / f"checkpoint_round_{kept}.npz"
        damaged.write_bytes(damaged.read_bytes()[:-40] + bytes(40))

        third = scene(NUM_ROUNDS="7")
        third.use_state("third")
        third.start()
        assert third.wait_for("training_resumed").round == kept - 1
        assert third.finish().sha256 == simulated(NODES, NUM_ROUNDS="7")
        assert damaged.name in third.log(SUPERLINK)


def newest_round(site):
    """Return the newest committed round."""
    return max(int(path.stem.rpartition("_")[2]) for path in site.checkpoints.glob("checkpoint_round_?.json"))


def test_it_gives_up_after_so_many_restarts_and_stays_so_until_it_is_told(scene, numpy_app):
    server = numpy_app / "numpy_app" / "server.py"
    server.write_text(
        server.read_text().replace("    start =", "    import os; os.kill(os.getpid(), 9)\n    start =")
    )
    site = scene(MAX_RESTARTS="1")
    site.start()
    assert "FL_MAX_RESTARTS" in site.wait_for("training_gave_up").reason
    site.kept[SUPERVISOR].join_end()
    assert site.kept[SUPERVISOR].codes == [6]
    assert len(site.events("run_submitted")) == 2
    site.start(SUPERVISOR)
    site.kept[SUPERVISOR].join_end(count=2)
    assert site.kept[SUPERVISOR].codes == [6, 6]
    assert "was given up" in site.log(SUPERVISOR)
    assert len(site.events("run_submitted")) == 2
