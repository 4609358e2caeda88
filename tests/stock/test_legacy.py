"""A legacy app, with `server_fn` and a NumPyClient, ends with the same bytes after it was killed."""

import hashlib
import random
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import ServerAppComponents, ServerConfig
from flwr.server.strategy import (
    DifferentialPrivacyServerSideFixedClipping,
    DPFedAvgAdaptive,
    DPFedAvgFixed,
    FedAvg,
)
from flwr.serverapp import ServerApp

try:
    from flwr.common.dp import add_gaussian_noise
except ModuleNotFoundError:  # where Flower 1.42 has it
    from flwr.compat.common.dp import add_gaussian_noise

from oneflower.journal import Journal
from oneflower.lab.localgrid import LocalGrid
from oneflower.settings import training_config
from oneflower.stock import loop_noise
from oneflower.stock.exchange import Posted
from oneflower.stock.loop_noise import LoopNoise
from oneflower.stock.recording import recorded

CLIENTS, ROUNDS = 5, 3


class Killed(BaseException):
    """Stands for SIGKILL."""


def aggregate_unless_killed(aggregate, server_round, results, failures):
    if any(isinstance(failure, Killed) for failure in failures):
        raise Killed  # the threads of Flower's server have caught it
    return aggregate(server_round, results, failures)


class Legacy:
    """The app as its authors wrote it; its server dies at a call of a client when a test says so."""

    def __init__(self, folder, fraction, wrap=lambda strategy: strategy):
        self.folder, self.fraction, self.start, self.calls = folder, fraction, 0, 0
        self.wrap = wrap

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
                return (
                    [(parameters[0] / 3 + noise).astype(np.float32)],
                    10 + self.partition,
                    {"dpfedavg_norm_bit": True},
                )

            def evaluate(self, parameters, config):
                return float(np.abs(parameters[0]).sum()), 10, {"accuracy": 0.5}

        return ClientApp(client_fn=lambda context: Client(context.node_config["partition-id"]).to_client())

    def run(self, dies_at=None):
        """Run it as a new ServerApp over nodes of new ids, and return the digest of its last model."""
        self.start, self.calls = self.start + 1, 0
        models = []

        class Strategy(FedAvg):
            def aggregate_fit(self, server_round, results, failures):
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
            outer = self.wrap(strategy)
            outer.aggregate_fit = partial(aggregate_unless_killed, outer.aggregate_fit)
            return ServerAppComponents(strategy=outer, config=ServerConfig(num_rounds=ROUNDS))

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


def private(strategy):
    """Deprecated in Flower, and in use: the noise is drawn in `flwr.common.dp`."""
    return DPFedAvgFixed(strategy, num_sampled_clients=CLIENTS, clip_norm=10.0, noise_multiplier=1.0)


def adaptive(strategy):
    return DPFedAvgAdaptive(strategy, num_sampled_clients=CLIENTS, noise_multiplier=0.1)


def clipped(strategy):
    return DifferentialPrivacyServerSideFixedClipping(strategy, 1.0, 10.0, CLIENTS)


@pytest.mark.parametrize("wrap", [private, adaptive, clipped])
def test_the_noise_of_a_loop_follows_from_a_key_and_not_from_the_seed(tmp_path, monkeypatch, wrap):
    """FL_SEED is known to each client; a killed training draws the noise of one that was not."""
    monkeypatch.delenv("ONEFLOWER_NOISE_KEY", raising=False)
    first, other = (Legacy(tmp_path / name, 1.0, wrap).run() for name in ("first", "other"))
    assert first != other
    monkeypatch.setenv("ONEFLOWER_NOISE_KEY", "one for both")
    expected = Legacy(tmp_path / "whole", 1.0, wrap).run()
    killed = Legacy(tmp_path / "killed", 1.0, wrap)
    with pytest.raises(Killed):
        killed.run(8)
    assert killed.run() == expected


def test_a_killed_loop_draws_its_noise_from_the_key_of_its_recording(tmp_path, monkeypatch):
    monkeypatch.delenv("ONEFLOWER_NOISE_KEY", raising=False)
    app = Legacy(tmp_path, 1.0, private)
    expected = app.run()
    key = tmp_path / "checkpoints" / "exchanges" / "noise-key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    for file in sorted(key.parent.glob("*.reply"))[7:]:
        file.unlink()
    assert app.run() == expected
    assert app.calls > 0
    assert key.read_text() not in (tmp_path / "journal.jsonl").read_text()


def test_replies_that_threads_take_at_once_are_all_in_the_seed(tmp_path, monkeypatch):
    """A legacy app asks each client in a thread: one that was lost gave another noise after a crash."""
    posted = [Posted.of(Message(RecordDict(), node, "train"), node, node) for node in range(1, 65)]
    digest = loop_noise.digest_of
    monkeypatch.setattr(loop_noise, "digest_of", lambda content: (time.sleep(0.001), digest(content))[1])

    def noise_after(threads):
        noise = LoopNoise()
        noise.begin(tmp_path)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(noise.after, ([each] for each in posted)))
        return add_gaussian_noise([np.zeros(3)], 1.0)[0].tolist()

    for each in posted:
        each.content = RecordDict()
    assert noise_after(16) == noise_after(1)


def test_other_replies_give_other_noise(tmp_path):
    """Two models with one noise would tell what the noise hides."""

    def noise_after(value):
        noise = LoopNoise()
        noise.begin(tmp_path)
        message = Message(RecordDict(), 7, "train")
        posted = Posted.of(message, 7, 1)
        posted.content = RecordDict({"arrays": ArrayRecord({"w": Array(np.array([value]))})})
        noise.after([posted])
        return add_gaussian_noise([np.zeros(3)], 1.0)[0].tolist()

    assert noise_after(1.0) == noise_after(1.0)
    assert noise_after(1.0) != noise_after(2.0)
