"""The noise of differential privacy follows from a key that nobody else has, not from FL_SEED."""

import stat
from importlib import import_module

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg

from oneflower.errors import StateError
from oneflower.flower.api import Context, Message
from oneflower.flower.calls.call import call_client
from oneflower.flower.calls.control import Control, with_control
from oneflower.flower.calls.seeds import seed_everything
from oneflower.flower.door import port
from oneflower.flower.private_noise import key_of_machine, seed_noise


def noise():
    arrays = [np.zeros(3, np.float32)]
    import_module(port.NOISE_MODULES[0]).add_gaussian_noise_inplace(arrays, 1.0)
    return arrays[0].tolist()


def test_the_seed_that_everybody_knows_does_not_give_the_noise():
    seed_noise("key", 1)
    first = noise()
    seed_everything(42, "server", 1)
    known = np.random.normal(0, 1.0, 3).tolist()  # noqa: NPY002 - what stock Flower draws
    seed_everything(42, "server", 1)
    assert noise() not in (first, known)


def test_one_key_and_place_give_one_noise():
    seed_noise("key", 1)
    first = noise()
    seed_noise("key", 2)
    second = noise()
    seed_noise("other", 1)
    third = noise()
    seed_noise("key", 1)
    assert noise() == first
    assert first not in (second, third)


def test_the_key_of_a_machine_is_made_once_and_is_its_users(tmp_path, monkeypatch):
    monkeypatch.delenv("ONEFLOWER_NOISE_KEY", raising=False)
    folder = tmp_path / "state"
    key = key_of_machine(folder)
    assert len(key) == 32
    assert key_of_machine(folder) == key
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key_of_machine(tmp_path / "other") != key
    assert key_of_machine(None) not in (key, "")


def test_a_key_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    monkeypatch.delenv("ONEFLOWER_NOISE_KEY", raising=False)
    (tmp_path / "noise-key").mkdir()
    with pytest.raises(StateError, match="the key of the noise cannot be kept"):
        key_of_machine(tmp_path)


def client(mods):
    app = ClientApp(mods=mods)

    @app.train()
    def train(message, _context):
        arrays = ArrayRecord({"w": Array(message.content["arrays"]["w"].numpy() + 1)})
        return Message(
            RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 1})}), reply_to=message
        )

    return app


def reply(folder, monkeypatch, training="ab" * 8):
    monkeypatch.setenv("ONEFLOWER_CLIENT_STATE", str(folder))
    content = RecordDict(
        {"arrays": ArrayRecord({"w": Array(np.zeros(4, np.float32))}), "config": ConfigRecord({"a": 1})}
    )
    control = Control(training=training, session="cd" * 8, round=1, seed=42)
    message = Message(with_control(content, control), 5, "train")
    context = Context(run_id=1, node_id=5, node_config={"partition-id": 0}, state=RecordDict(), run_config={})
    answer = call_client(client([LocalDpMod(1.0, 1.0, 1.0, 1e-5)]), message, context)
    assert not answer.has_error(), answer.error
    return answer.content["arrays"]["w"].numpy().tolist()


def test_a_servers_knowledge_of_the_seed_does_not_give_a_clients_noise(tmp_path, monkeypatch):
    monkeypatch.delenv("ONEFLOWER_NOISE_KEY", raising=False)
    one, again = reply(tmp_path / "a", monkeypatch), reply(tmp_path / "a", monkeypatch)
    assert one == again
    assert reply(tmp_path / "b", monkeypatch) != one


def test_another_training_has_another_noise_unless_a_key_is_given(tmp_path, monkeypatch):
    """The difference of two trainings' first replies would tell how the data have changed."""
    monkeypatch.delenv("ONEFLOWER_NOISE_KEY", raising=False)
    assert reply(tmp_path, monkeypatch) != reply(tmp_path, monkeypatch, training="cd" * 8)
    monkeypatch.setenv("ONEFLOWER_NOISE_KEY", "of a comparison")
    assert reply(tmp_path, monkeypatch) == reply(tmp_path, monkeypatch, training="cd" * 8)


def test_the_wrappers_of_strategies_draw_it_too():
    arrays = ArrayRecord({"w": Array(np.zeros(4, np.float32))})
    wrapper = DifferentialPrivacyServerSideFixedClipping(FedAvg(), 1.0, 1.0, 2)
    drawn = []
    for key in ("one", "two", "one"):
        seed_everything(42, "server", 1)
        seed_noise(key, "server", 1)
        drawn.append(wrapper._add_noise_to_aggregated_arrays(arrays)["w"].numpy().tolist())
    assert drawn[0] == drawn[2] != drawn[1]


@pytest.mark.parametrize("text", ["", "ab", "0" * 31, "no hexadecimal digits, at all....", "0" * 40])
def test_a_key_that_is_empty_or_cut_is_an_error(tmp_path, monkeypatch, text):
    """Everybody can compute the noise of the empty key."""
    monkeypatch.delenv("ONEFLOWER_NOISE_KEY", raising=False)
    (tmp_path / "noise-key").write_text(text)
    with pytest.raises(StateError, match="the key of the noise"):
        key_of_machine(tmp_path)
