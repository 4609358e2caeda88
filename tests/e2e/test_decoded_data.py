"""`oneflower up` decodes a client's data once: the same model as without what is kept, damaged or not."""

import pytest

from oneflower.settings import render_context

from .recovery.simulated import simulate

pytestmark = pytest.mark.e2e

GIVEN = {"FL_USE_CASE": "image-classification", "FL_SEED": "42", "FL_MIN_AVAILABLE_CLIENTS": "2"}


def finish(up, tmp_path, **variables):
    context = tmp_path / "demo.sh"
    context.write_text(render_context({**GIVEN, **variables}))
    process = up.start_context(context, "--nodes", "2", "--no-dashboard")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return up.events("training_finished")[-1].sha256


def test_what_is_kept_and_what_was_damaged_give_the_model_of_decoding_each_time(up, tmp_path):
    finish(up, tmp_path, FL_NUM_ROUNDS="1")
    (kept,) = (up.state / "decoded-data").glob("*.arrays")
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes(content)
    model = finish(up, tmp_path, FL_NUM_ROUNDS="2")
    assert "thrown away" in "".join(log.read_text() for log in (up.state / "logs").glob("**/*.log"))
    (again,) = (up.state / "decoded-data").glob("*.arrays")
    assert again.read_bytes() != bytes(content)
    # A simulation keeps nothing: it decodes in its own process.
    assert model == simulate(tmp_path / "simulated", clients=2, environ={**GIVEN, "FL_NUM_ROUNDS": "2"})


def test_without_it_nothing_is_written(up, tmp_path):
    finish(up, tmp_path, FL_NUM_ROUNDS="1", FL_DATA_CACHE="NO")
    assert not (up.state / "decoded-data").exists()
