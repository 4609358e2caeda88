"""Clients that send something wrong: a real cluster goes on, names them, and takes the mean of the others."""

import math

import numpy as np
import pytest

from oneflower.checkpoints import CheckpointReader
from oneflower.flower.calls.seeds import derived_seed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SEED, BAD, ROUNDS = 7, 2, 4
TROUBLE = """
        if info.partition_id == 2:
            if info.round == 1:
                arrays["w"][3] = np.nan
            elif info.round == 2:
                arrays["w"] = arrays["w"][:4]
            elif info.round == 3:
                examples = -5
"""


def spoil(app):
    """Let the client of partition 2 send NaN, a wrong shape and a negative count, one a round."""
    path = app / "numpy_app" / "client.py"
    text = path.read_text()
    text = text.replace(
        "    metrics = MetricRecord(", "    examples = 10 + info.partition_id\n    metrics = MetricRecord(", 1
    )
    text = text.replace('{"num-examples": 10 + info.partition_id}', '{"num-examples": examples}')
    lines = TROUBLE.replace("\n    ", "\n").strip("\n")
    text = text.replace(
        "    examples = 10 + info.partition_id\n", f"    examples = 10 + info.partition_id\n{lines}\n"
    )
    path.write_text(text)


def expected():
    """Return the model after each round: the weighted mean of what the valid clients sent, in float64."""
    model, rounds = np.zeros(8, np.float32), []
    for number in range(1, ROUNDS + 1):
        sent = {}
        for partition in range(3):
            rng = np.random.default_rng(derived_seed(SEED, number, partition))
            sent[partition] = (0.9 * model + rng.normal(size=8)).astype(np.float32)
        valid = [partition for partition in sent if partition != BAD or number > 3]
        weights = [10 + partition for partition in valid]
        model = np.average([sent[partition].astype(float) for partition in valid], axis=0, weights=weights)
        model = model.astype(np.float32)
        rounds.append(model)
    return rounds


def test_three_bad_updates_are_left_out_by_name_and_the_model_is_the_mean_of_the_others(up, numpy_app):
    spoil(numpy_app)
    code, output = up.run(
        "--nodes", "3", NUM_ROUNDS=str(ROUNDS), MIN_FIT_CLIENTS="2", SEED=str(SEED), CHECKPOINT_KEEP="10"
    )
    assert code == 0, output
    quarantined = up.events("client_quarantined")
    assert [event.round for event in quarantined] == [1, 2, 3]
    assert len({event.client for event in quarantined}) == 1
    for event, words in zip(
        quarantined, ("NaN", "shape [4]; expected [8]", "num-examples is -5"), strict=True
    ):
        assert words in event.reason
    assert [event.valid for event in up.events("round_completed")] == [2, 2, 2, 3]
    reader = CheckpointReader(up.state / "checkpoints")
    for number, model in enumerate(expected(), start=1):
        found = reader.load(number).arrays["w"]
        assert all(map(math.isfinite, found.tolist()))
        np.testing.assert_allclose(found, model, rtol=1e-6, atol=1e-7)
