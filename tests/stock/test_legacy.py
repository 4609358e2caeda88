"""A legacy app, with `server_fn` and a NumPyClient, ends with the same bytes after it was killed."""

import hashlib
import random

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.serverapp import ServerApp

from oneflower.journal import Journal
from oneflower.lab.localgrid import LocalGrid
from oneflower.settings import training_config
from oneflower.stock.recording import recorded

CLIENTS, ROUNDS = 5, 3


class Killed(BaseException):
    """Stands for SIGKILL."""


class Legacy:
    """The app as its authors wrote it; its server dies at a call of a client when a test says so."""

    def __init__(self, folder, fraction):
        self.folder, self.fraction, self.start, self.calls = folder, fraction, 0, 0

    def client_app(self, dies_at):
        world = self

        class Client(NumPyClient):
            def __init__(self, partition):
                self.partition = partition

            def get_parameters(self, config):
                return [np.full(4, self.partition, np.float32)]

            def fit(self, parameters, config):
                world.calls += 1
                if dies_at is not None and world.calls >= dies_at:
                    raise Killed
                noise = np.random.default_rng([self.partition, config["round"]]).normal(size=4)
                return [(parameters[0] / 3 + noise).astype(np.float32)], 10 + self.partition, {}

            def evaluate(self, parameters, config):
                return float(np.abs(parameters[0]).sum()), 10, {"accuracy": 0.5}

        return ClientApp(client_fn=lambda context: Client(context.node_config["partition-id"]).to_client())

    def run(self, dies_at=None):
        """Run it as a new ServerApp over nodes of new ids, and return the digest of its last model."""
        self.start, self.calls = self.start + 1, 0
        models = []

        class Strategy(FedAvg):
            def aggregate_fit(self, server_round, results, failures):
                if any(isinstance(failure, Killed) for failure in failures):
                    raise Killed  # the threads of Flower's server have caught it
                aggregated = super().aggregate_fit(server_round, results, failures)
                if aggregated[0] is not None:
                    models.append(parameters_to_ndarrays(aggregated[0]))
                return aggregated

        def server_fn(context):
            strategy = Strategy(
                fraction_fit=self.fraction,
                fraction_evaluate=self.fraction,
                min_available_clients=CLIENTS,
                on_fit_config_fn=lambda number: {"round": number},
                initial_parameters=None if self.fraction < 1 else ndarrays_to_parameters([np.zeros(4)]),
            )
            return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=ROUNDS))

        config = {
            "checkpoint-enabled": True,
            "checkpoint-path": str(self.folder / "checkpoints"),
            "seed": 3,
            "round-timeout": 5,
        }
        ids = random.Random(self.start).sample(range(10**9), CLIENTS)
        grid = LocalGrid(
            self.client_app(dies_at), clients=CLIENTS, run_config=config, node_ids=ids, app="test/legacy"
        )
        context = Context(self.start, 0, {}, RecordDict(), config)
        with recorded(
            grid, context, training_config(config), Journal(self.folder / "journal.jsonl")
        ) as given:
            ServerApp(server_fn=server_fn)(given, context)
        assert len(models) == ROUNDS
        return hashlib.sha256(models[-1][0].tobytes()).hexdigest()


@pytest.mark.parametrize("fraction", [1.0, 0.6])
@pytest.mark.parametrize("dies_at", [1, 4, 8])
def test_a_killed_legacy_app_ends_with_the_same_bytes(tmp_path, fraction, dies_at):
    expected = Legacy(tmp_path / "whole", fraction).run()
    assert Legacy(tmp_path / "again", fraction).run() == expected
    legacy = Legacy(tmp_path / "killed", fraction)
    with pytest.raises(Killed):
        legacy.run(dies_at)
    assert legacy.run() == expected
