"""`oneflower up` with real Flower processes: it trains, reports, refuses, and leaves nothing behind."""

import re
import socket

import pytest

from oneflower.local_cluster.processes import MARKER
from oneflower.procfs import with_environment

pytestmark = pytest.mark.e2e


def sha256(output):
    return re.search(r"^SHA-256 +([0-9a-f]{64})$", output, re.MULTILINE)[1]


def strays(up):
    """Whatever this boot started and that still runs; the token is in the log of what was started."""
    text = (up.state / "processes.json").read_text() if (up.state / "processes.json").exists() else ""
    found = re.search(r'"token": "(\w+)"', text)
    return list(with_environment(MARKER, found[1])) if found else []


def test_with_tls_nodes_and_control_connect_and_without_checkpoints_the_end_is_told(up, simulated):
    code, output = up.run(TLS_ENABLED="YES", CHECKPOINT_ENABLED="NO", NUM_ROUNDS="1")
    assert code == 0, output
    log = (up.state / "logs" / "superlink.log").read_text()
    assert "insecure" not in log.split("superexec")[0].lower()
    assert re.search(r"final model +not kept: FL_CHECKPOINT_ENABLED is NO", output)
    assert sha256(output) == simulated(2, NUM_ROUNDS="1")
    assert not (up.state / "checkpoints").exists()


def test_with_executors_of_their_own_the_processes_train_as_well(up, simulated):
    code, output = up.run(NUM_ROUNDS="1", ISOLATION="process")
    assert code == 0, output
    assert sha256(output) == simulated(2, NUM_ROUNDS="1")


def test_without_a_usable_gpu_processors_train_the_same_bytes_with_one_warning(up, simulated):
    code, output = up.run("--quiet", NUM_ROUNDS="1", GPU_ENABLED="YES", CUDA_VISIBLE_DEVICES="63")
    assert code == 0, output
    assert output.count("warning: FL_GPU_ENABLED=YES, and processors train: ") == 1
    assert sha256(output) == simulated(2, NUM_ROUNDS="1")


def test_a_gpu_that_is_required_and_not_there_ends_it_before_anything_starts(up):
    given = {"GPU_ENABLED": "YES", "GPU_REQUIRED": "YES", "CUDA_VISIBLE_DEVICES": "63"}
    code, output = up.run("--quiet", **given)
    assert code == 8
    (said,) = output.splitlines()
    assert "FL_GPU_REQUIRED=YES, and no GPU can be used: " in said
    assert not (up.state / "journal.jsonl").exists()


def test_a_second_up_is_refused_while_the_first_runs(up):
    first = up.start(environ={"TEST_PAUSE_S": "30"})
    up.wait_for("round_started")
    code, output = up.run()
    assert code == 4
    assert f"pid {first.pid}" in output


def test_a_port_in_use_is_named_and_nothing_is_started(up):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, output = up.run(CONTROL_API_ADDRESS=f"127.0.0.1:{port}")
    assert code == 4
    assert f"port {port}" in output
    assert "FL_CONTROL_API_ADDRESS" in output
    assert not up.events("cluster_started")


def test_an_app_whose_data_do_not_fit_fails_at_once_with_its_words(up, numpy_app):
    server = numpy_app / "numpy_app" / "server.py"
    words = "the images have 3 channels, the model expects 1: set channels = 3"
    server.write_text(
        server.read_text().replace(
            "    start =",
            f"    from oneflower.errors import AppError; raise AppError({words!r})\n    start =",
        )
    )
    code, output = up.run()
    assert code == 5
    assert words in output
    assert len(up.events("run_submitted")) == 1
    (failed,) = up.events("training_failed")
    assert (failed.error, failed.reason) == ("AppError", words)


def test_a_training_that_fails_says_why_and_where_the_logs_are(up, numpy_app):
    client = numpy_app / "numpy_app" / "client.py"
    client.write_text(
        client.read_text().replace("    info =", "    raise ValueError('no data here')\n    info =", 1)
    )
    code, output = up.run(ROUND_RETRIES="0")
    assert code == 6
    assert "missed its quorum" in output
    assert f"logs: {up.state / 'logs'}" in output
    assert not strays(up)


def test_an_app_that_does_not_use_oneflower_runs_too(up, numpy_app):
    (numpy_app / "numpy_app" / "server.py").write_text(
        "from flwr.serverapp import ServerApp\napp = ServerApp()\n@app.main()\n"
        "def main(grid, context):\n    print('rounds', context.run_config['num-server-rounds'])\n"
    )
    code, output = up.run()
    assert code == 0, output
    assert "not reported by the app" in output
    assert "rounds 3" in (up.state / "logs" / "superlink.log").read_text()


@pytest.mark.timeout(900)
def test_a_model_of_many_small_arrays_is_the_same_packed_and_plain(up):
    """Our executor in its two ways, and stock Flower, whose app is asked once and then let be.

    Stock Flower loses a message now and then (workaround `zero-byte-traffic`): its training is repeated.
    """
    ways = {
        "warm": {},
        "cold": {"WARM_EXECUTOR": "NO"},
        # A node that has lost a message answers none of the further ones: another attempt would wait in vain.
        "plain": {
            "FLOWER_WORKAROUNDS": "NO",
            "WARM_EXECUTOR": "NO",
            "ROUND_RETRIES": "0",
            "MAX_RESTARTS": "0",
        },
    }
    models, packed = set(), {}
    for way, variables in ways.items():
        given = {"NUM_ROUNDS": "2", "LOG_LEVEL": "INFO", "ROUND_TIMEOUT": "30", **variables}
        for _ in range(5 if way == "plain" else 1):
            code, output = up.run("--fresh", environ={"TEST_ARRAYS": "40"}, **given)
            if code == 0:
                break
        assert code == 0, output
        models.add(up.events("training_finished")[-1].sha256)
        log = (up.state / "logs" / "superlink.log").read_text()
        packed[way] = log.count("answer=yes"), log.count("answer=no")
    assert len(models) == 1
    assert packed["warm"][0] == packed["cold"][0] == packed["plain"][1] > 0
    assert packed["plain"][0] == packed["warm"][1] == packed["cold"][1] == 0


def test_a_runtime_error_of_the_app_ends_the_training(up, numpy_app):
    """Flower swallows it and leaves the run open for a minute, or for ever. It is tried once more."""
    server = numpy_app / "numpy_app" / "server.py"
    server.write_text(
        server.read_text().replace("    start =", "    raise RuntimeError('shapes')\n    start =")
    )
    code, output = up.run()
    assert code == 6
    assert "the app failed twice in the same way: the app raised RuntimeError: shapes" in output
    failed = up.events("app_failed")
    assert [(each.error, each.reason) for each in failed] == [("RuntimeError", "shapes")] * 2
    assert failed[0].where.startswith("numpy_app/server.py:")
    (gave_up,) = up.events("training_gave_up")
    assert "RuntimeError: shapes" in gave_up.reason
