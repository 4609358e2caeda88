"""The same seed, round and partition give the same numbers, whatever the process has imported before."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict
from torch.utils.data import DataLoader, TensorDataset

from oneflower.flower.calls import seeds
from oneflower.flower.calls.call import call_client
from oneflower.flower.calls.control import Control, with_control
from oneflower.flower.calls.seeds import derived_seed, ends_with_its_message, seed_everything, seeded


def drawn():
    """Return what an app draws that seeds nothing."""
    loader = DataLoader(TensorDataset(torch.arange(20.0)), batch_size=4, shuffle=True)
    return (
        random.random(),
        np.random.normal(),  # noqa: NPY002 the global one, as apps use it
        [batch[0].tolist() for batch in loader],
        torch.nn.functional.dropout(torch.ones(16)).tolist(),
        torch.nn.Linear(2, 2).weight.tolist(),
    )


@pytest.fixture(autouse=True)
def _torch_as_it_was():
    yield
    torch.use_deterministic_algorithms(False)


def test_the_same_parts_give_the_same_numbers_and_others_give_others():
    seed_everything(1, 2, 3, "train")
    first = drawn()
    seed_everything(1, 2, 3, "evaluate")
    other = drawn()
    seed_everything(1, 2, 3, "train")
    assert drawn() == first
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_the_seed_is_the_hash_of_the_parts():
    assert seed_everything(1, "server", 2) == derived_seed(1, "server", 2)


def test_after_a_block_the_generators_go_on_where_they_were():
    seed_everything(5)
    drawn()
    expected = drawn()
    seed_everything(5)
    drawn()
    with seeded(1, 2, 3):
        drawn()
    assert drawn() == expected


def test_a_process_that_ends_with_its_message_sets_nothing_back(monkeypatch):
    monkeypatch.setattr(seeds._watch, "ends", False)
    ends_with_its_message()
    seed_everything(1, 2, 3)
    first, second = drawn(), drawn()
    with seeded(1, 2, 3):
        assert drawn() == first
    assert drawn() == second


def test_seeding_does_not_start_cuda(monkeypatch):
    """PyTorch seeds its GPUs when it starts them: a process that seeds can still be forked."""

    def fail(*_):
        raise AssertionError("CUDA was asked")

    for name in ("init", "_lazy_init", "is_available", "device_count", "get_rng_state_all"):
        monkeypatch.setattr(torch.cuda, name, fail)
    with seeded(1, 2, 3):
        torch.rand(1)
    assert not torch.cuda.is_initialized()


def test_deterministic_algorithms_are_preferred_and_what_an_app_forbids_stays_forbidden():
    seed_everything(1)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    seed_everything(1)
    assert not torch.is_deterministic_algorithms_warn_only_enabled()


LIGHT = """
import sys, torch
from oneflower.flower.calls.seeds import seed_everything
from oneflower.sdk.client import set_determinism
seed_everything(1)
set_determinism(1, 1, 0)
assert torch.get_deterministic_debug_mode() == 2
assert "torch._dynamo" not in sys.modules and "torch._inductor" not in sys.modules
import torch._inductor.config
assert torch._inductor.config.deterministic
torch._inductor.config.deterministic = False
set_determinism(1, 1, 0)
assert torch._inductor.config.deterministic
"""


def test_deterministic_algorithms_are_chosen_without_importing_the_compiler_which_takes_them_when_it_comes():
    environ = {name: value for name, value in os.environ.items() if "INDUCTOR" not in name}
    subprocess.run([sys.executable, "-c", LIGHT], check=True, timeout=300, env=environ)


# --- messages ---------------------------------------------------------------------------------------------


def asked(app, *, server_round=1, partition=0, kind="train", seed=1, control=True):
    content = RecordDict({"config": ConfigRecord({"server-round": server_round})})
    if control:
        content = with_control(
            content, Control(training="ab" * 8, session="cd" * 8, round=server_round, seed=seed)
        )
    message = Message(content, 1, kind)
    message.metadata.__dict__["_src_node_id"] = 2
    context = Context(
        run_id=1, node_id=1, node_config={"partition-id": partition}, state=RecordDict(), run_config={}
    )
    reply = call_client(app, message, context)
    assert not reply.has_error(), reply.error


def test_an_app_that_seeds_nothing_draws_by_seed_round_partition_and_kind():
    seen = []

    def app(message, context):
        seen.append(drawn())
        return Message(RecordDict(), reply_to=message)

    for _ in range(2):
        for changed in ({}, {"seed": 2}, {"server_round": 2}, {"partition": 1}, {"kind": "evaluate"}):
            asked(app, **changed)
    assert seen[:5] == seen[5:]
    for one in range(5):
        for two in range(one):
            assert all(a != b for a, b in zip(seen[one], seen[two], strict=True))


def test_a_message_of_anybody_elses_server_leaves_the_generators_alone():
    seen = []

    def app(message, context):
        seen.append(random.random())
        return Message(RecordDict(), reply_to=message)

    asked(app, control=False)
    asked(app, control=False)
    assert seen[0] != seen[1]


# --- late imports -------------------------------------------------------------------------------------------

LATE = """
import sys
sys.path.insert(0, sys.argv[2])
from oneflower.flower.calls.seeds import seeded
if sys.argv[1] == "before":
    import torch, keras
with seeded(1, 2, 3):
    import random
    random.random()
    import torch, keras
    loader = keras.__loader__
    print(torch.rand(3).tolist(), random.random(), keras.drawn, loader.__class__.__name__)
"""
KERAS = """
drawn = None

class utils:
    def set_random_seed(seed):
        global drawn
        drawn = seed
"""


def test_what_is_imported_in_the_middle_of_a_message_is_seeded_as_if_it_had_been_there(tmp_path):
    (tmp_path / "keras.py").write_text(KERAS)
    said = [
        subprocess.run(
            [sys.executable, "-c", LATE, when, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for when in ("before", "within")
    ]
    assert said[0] == said[1]
    assert said[0].split()[-2:] != ["None", "_Seeding"]
    assert "SourceFileLoader" in said[0]
