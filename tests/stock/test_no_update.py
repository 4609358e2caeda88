"""A client that sends the model back: Flower's privacy wrappers divide by the norm of its update."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
    FedMedian,
)

from oneflower.checkpoints import CheckpointReader
from oneflower.journal import read_journal
from oneflower.journal.events import ClientQuarantined, RoundFailed

ROUNDS = 2
WRAPPERS = {
    "fixed": lambda inner: DifferentialPrivacyServerSideFixedClipping(inner, 0.0, 1.0, 3),
    "adaptive": lambda inner: DifferentialPrivacyServerSideAdaptiveClipping(
        inner, 0.0, 3, initial_clipping_norm=1.0, clip_norm_lr=1e-9, clipped_count_stddev=0.0
    ),
}


def main_of(wrapper, inner):
    def main(grid, context):
        initial = ArrayRecord({"w": Array(np.zeros(4, np.float32))})
        WRAPPERS[wrapper](inner()).start(grid=grid, initial_arrays=initial, num_rounds=ROUNDS)

    return main


@pytest.mark.parametrize("inner", [FedAvg, FedMedian])
@pytest.mark.parametrize("unchanged", [{0}, {0, 1, 2}])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_an_update_of_nothing_counts_as_it_is(stock, wrapper, inner, unchanged):
    def train(message, context, arrays):
        if context.node_config["partition-id"] in unchanged:
            return arrays, {"num-examples": 1}
        return {"w": arrays["w"] + np.float32(0.25)}, {"num-examples": 1}

    app = stock(main_of(wrapper, inner), train=train)
    app.run()
    events = [each.event for each in read_journal(app.path / "journal.jsonl")]
    assert not [event for event in events if isinstance(event, ClientQuarantined | RoundFailed)]
    model = CheckpointReader(app.path).load(ROUNDS).arrays["w"]
    moved = 0.0 if len(unchanged) == 3 else ROUNDS * 0.25 * (2 / 3 if inner is FedAvg else 1)
    assert np.allclose(model, moved)
