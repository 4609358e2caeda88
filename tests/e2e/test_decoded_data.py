"""`oneflower up` decodes a client's data once: the same model as without what is kept, damaged or not."""

import pytest

from oneflower.settings import render_context

from .recovery.simulated import simulate

pytestmark = pytest.mark.e2e

GIVEN = {
    "FL_USE_CASE": "image-classification",
    "FL_SEED": "42",
    "FL_MIN_AVAILABLE_CLIENTS": "2",
    "FL_NUM_ROUNDS": "1",
}


def finish(up, tmp_path, **variables):
    context = tmp_path / "demo.sh"
    context.write_text(render_context({**GIVEN, **variables}))
    process = up.start_context(context, "--nodes", "2", "--no-dashboard")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return up.events("training_finished")[-1].sha256


def test_a_damaged_file_is_decoded_again_and_the_model_is_that_of_decoding_each_time(up, tmp_path):
    kept = tmp_path / "kept"
    model = simulate(tmp_path / "one", clients=2, environ={**GIVEN, "ONEFLOWER_DATA_CACHE": str(kept)})
    (file,) = kept.glob("*.arrays")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    planted = up.state / "decoded-data" / file.name
    planted.parent.mkdir(parents=True, mode=0o700)
    planted.write_bytes(content)
    planted.chmod(0o600)
    assert finish(up, tmp_path) == model
    assert f"{planted.name} was thrown away" in (up.state / "logs" / "superlink.log").read_text()
    assert planted.read_bytes() == file.read_bytes()


def test_without_it_nothing_is_written_and_the_model_is_the_same(up, tmp_path):
    model = simulate(tmp_path / "one", clients=2, environ=GIVEN)
    assert finish(up, tmp_path, FL_DATA_CACHE="NO") == model
    assert not (up.state / "decoded-data").exists()
