"""What oneflower raises ends the app, also where Flower's threads or the app's own code have caught it."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.common import ndarrays_to_parameters
from flwr.server import Server, ServerAppComponents, ServerConfig, SimpleClientManager
from flwr.server.strategy import FedAvg
from flwr.serverapp import ServerApp

from oneflower.errors import ForeignError, SettingsError, StateError
from oneflower.lab.localgrid import LocalGrid
from oneflower.settings.table import BY_KEY
from oneflower.stock import hooks, record

ROUNDS, CLIENTS = 2, 3


class Own(Server):
    """A server whose `fit` is the app's own: it asks the clients in a pool of threads all the same."""

    def fit(self, num_rounds, timeout):
        self.parameters = ndarrays_to_parameters([np.zeros(2)])
        for number in range(1, num_rounds + 1):
            self.fit_round(number, timeout)
        return None, 0.0


class Legacy:
    """A legacy app; its strategy goes on where all clients fail, as Flower's does."""

    def __init__(self, folder, *, server=None, initial=True):
        self.path, self.server, self.initial = folder / "checkpoints", server, initial
        self.asked = []

    def run(self, **settings):
        self.asked.clear()
        asked = self.asked

        class Client(NumPyClient):
            def get_parameters(self, config):
                asked.append("parameters")
                return [np.zeros(2)]

            def fit(self, parameters, config):
                asked.append("fit")
                return [parameters[0] + 1], 1, {}

            def evaluate(self, parameters, config):
                asked.append("evaluate")
                return 0.0, 1, {}

        def server_fn(context):
            given = ndarrays_to_parameters([np.zeros(2)]) if self.initial else None
            strategy = FedAvg(min_available_clients=CLIENTS, initial_parameters=given)
            config = ServerConfig(num_rounds=ROUNDS)
            if self.server is None:
                return ServerAppComponents(strategy=strategy, config=config)
            server = self.server(client_manager=SimpleClientManager(), strategy=strategy)
            return ServerAppComponents(server=server, config=config)

        run_app(
            ServerApp(server_fn=server_fn),
            ClientApp(client_fn=lambda context: Client().to_client()),
            {"checkpoint-enabled": True, "checkpoint-path": str(self.path), **settings},
        )

    def files(self):
        """Return the content of every file of the recording."""
        found = sorted(each for each in (self.path / "exchanges").rglob("*") if each.is_file())
        return {str(each): hashlib.sha256(each.read_bytes()).hexdigest() for each in found}


def run_app(server, client, config):
    grid = LocalGrid(client, clients=CLIENTS, run_config=config, app="me/legacy")
    context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=config)
    with hooks.installed():
        server(grid, context)


def set_by_operator(**values):
    values = {name.replace("_", "-"): value for name, value in values.items()}
    return {**values, "operator-set": ",".join(BY_KEY[name].name for name in values)}


@pytest.mark.parametrize("server", [None, Own])
@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize(
    ("name", "value"),
    [("strategy", "Krum"), ("update_norm_bound", 3.0), ("max_client_weight", 5.0)],
)
def test_a_legacy_app_is_refused_before_it_asks_a_client(tmp_path, server, initial, name, value):
    """Case N1: it was refused in a thread of Flower's, trained nothing, and ended with 0."""
    app = Legacy(tmp_path, server=server, initial=initial)
    settings = set_by_operator(**{name: value})
    with pytest.raises(SettingsError, match=f"FL_{name.upper()}=.* would have no effect"):
        app.run(**settings)
    assert not app.asked
    app.run()
    before = app.files()
    with pytest.raises(SettingsError, match="would have no effect"):
        app.run(**settings)
    assert app.files() == before
    app.run()
    assert not app.asked  # all of it was given again


def test_a_strategy_that_no_safety_depends_on_is_warned_of_only(tmp_path, caplog):
    app = Legacy(tmp_path)
    app.run(**set_by_operator(strategy="FedAdam"))
    assert app.asked.count("fit") == ROUNDS * CLIENTS
    assert "no effect on an app that sends its messages itself: FL_STRATEGY" in caplog.text


def test_what_fails_in_flowers_threads_ends_a_legacy_app(tmp_path, monkeypatch):
    """A folder that cannot be written was a failure of all clients: the app ended well."""

    def full(*_args):
        raise StateError("the disk is full")

    app = Legacy(tmp_path)
    app.run()
    monkeypatch.setattr(record.Recording, "given_again", full)
    with pytest.raises(StateError, match="the disk is full"):
        app.run()


def test_a_recording_that_is_not_ours_ends_a_legacy_app(tmp_path, monkeypatch):
    app = Legacy(tmp_path)
    app.run()
    monkeypatch.setenv("FL_CHECKPOINT_KEY", "a3f1c9d27b604e85f1d2c3b4a5968778")
    with pytest.raises(ForeignError):
        app.run()
    assert not app.asked


def test_a_thread_that_is_left_behind_finds_no_nodes(stock):
    """Flower's legacy server looks for clients in a thread, which goes on when the app has been refused."""
    grids, found = [], []

    def main(grid, _context):
        grids.append(grid)
        raise StateError("refused")

    with pytest.raises(StateError, match="refused"):
        stock(main).run()
    thread = threading.Thread(target=lambda: found.append(list(grids[0].get_node_ids())), daemon=True)
    thread.start()
    thread.join(30)
    assert found == [[]]


@pytest.mark.parametrize("fate", ["goes on", "raises another", "exits"])
def test_an_error_that_an_app_catches_is_raised_at_its_end(stock, fate, monkeypatch):
    def full(*_args, **_kwargs):
        raise StateError("the disk is full")

    monkeypatch.setattr(record.Recording, "open", full)

    def main(grid, context):
        with ThreadPoolExecutor(2) as pool:
            futures = [pool.submit(grid.get_node_ids) for _ in range(2)]
        assert all(isinstance(each.exception(), StateError) for each in futures)
        if fate == "raises another":
            raise ValueError("no client has answered")
        if fate == "exits":
            raise SystemExit(0)

    with pytest.raises(StateError, match="the disk is full"):
        stock(main).run()


def test_after_an_error_nothing_more_is_sent(stock, monkeypatch):
    def full(*_args, **_kwargs):
        raise StateError("the disk is full")

    monkeypatch.setattr(record.Recording, "open", full)
    seen = []

    def main(grid, context):
        for _ in range(3):
            try:
                seen.append(grid.get_node_ids())
            except Exception as error:  # noqa: BLE001 - as apps do
                seen.append(str(error))

    with pytest.raises(StateError):
        stock(main).run()
    assert seen == ["the disk is full"] * 3
