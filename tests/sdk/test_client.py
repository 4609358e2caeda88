"""What a ClientApp gets from its round: the server's values, the proximal term, reproducible draws."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from torch import nn

from oneflower.errors import AppError
from oneflower.sdk.client import RoundInfo, derived_seed, proximal_term, set_determinism


def message(**config):
    return Message(content=RecordDict({"config": ConfigRecord(config)}), dst_node_id=1, message_type="train")


def context(node=None, run=None):
    return Context(run_id=1, node_id=1, node_config=node or {}, state=RecordDict(), run_config=run or {})


def info(config=None, node=None, run=None):
    return RoundInfo.from_message(message(**(config or {})), context(node, run))


def test_round_info_reads_all_that_the_server_sends():
    got = info(
        {"server-round": 7, "seed": 3, "lr": 0.25, "proximal-mu": 0.5},
        {"partition-id": 2, "num-partitions": 4},
    )
    assert got == RoundInfo(round=7, seed=3, lr=0.25, proximal_mu=0.5, partition_id=2, num_partitions=4)


def test_round_info_of_a_bare_message_takes_the_seed_of_the_run_config():
    """A stock Flower strategy sends the round alone; a node may have no partition."""
    got = info({"server-round": 1}, run={"seed": 9})
    assert got == RoundInfo(round=1, seed=9, lr=None, proximal_mu=0.0, partition_id=0, num_partitions=1)


def test_round_info_takes_an_integer_where_a_real_number_is_expected():
    assert info({"lr": 1, "proximal-mu": 2}) == info({"lr": 1.0, "proximal-mu": 2.0})


@pytest.mark.parametrize(
    ("config", "node", "words"),
    [
        ({"server-round": "3"}, {}, "server-round is '3'"),
        ({"seed": -1}, {}, "seed is -1"),
        ({"lr": float("nan")}, {}, "lr is nan"),
        ({"proximal-mu": -0.5}, {}, "proximal-mu is -0.5"),
        ({}, {"partition-id": "a"}, "partition-id is 'a'"),
        ({}, {"partition-id": 3, "num-partitions": 3}, "an id from 0 to 2"),
    ],
)
def test_round_info_refuses_what_makes_no_sense(config, node, words):
    with pytest.raises(AppError, match="expected") as error:
        info(config, node)
    assert words in str(error.value)


def test_round_info_needs_no_torch():
    code = "import sys, oneflower.sdk.client; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Small(nn.Module):
    """A trainable weight, a frozen one, and a buffer."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([[1.0, -2.0], [0.5, 4.0]]))
        self.frozen = nn.Parameter(torch.tensor([10.0]), requires_grad=False)
        self.register_buffer("steps", torch.tensor(3))


GLOBAL = {
    "w": np.array([[0.0, -2.0], [1.5, 1.0]], dtype=np.float32),
    "frozen": np.array([-90.0], dtype=np.float32),
    "steps": np.array(1),
}


def test_proximal_term_and_its_gradient_equal_those_computed_by_hand():
    """Differences (1, 0, -1, 3): half of mu 0.5 times 11; the gradient is mu times each difference."""
    model = Small()
    term = proximal_term(model, GLOBAL, 0.5)
    term.backward()
    assert float(term.detach()) == pytest.approx(0.25 * 11)
    torch.testing.assert_close(model.w.grad, 0.5 * torch.tensor([[1.0, 0.0], [-1.0, 3.0]]))
    assert model.frozen.grad is None


def test_proximal_term_reads_a_record_and_tensors_alike():
    model = Small()
    tensors = {name: torch.from_numpy(array) for name, array in GLOBAL.items()}
    terms = [proximal_term(model, arrays, 1.0) for arrays in (GLOBAL, tensors, ArrayRecord(tensors))]
    assert len({float(term.detach()) for term in terms}) == 1


def test_proximal_term_covers_every_trainable_parameter():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    reference = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    proximal_term(model, reference, 2.0).backward()
    for parameter in model.parameters():
        torch.testing.assert_close(parameter.grad, 2.0 * parameter.detach())


def test_proximal_term_is_a_constant_zero_without_mu():
    term = proximal_term(Small(), {}, 0.0)
    assert float(term) == 0
    assert not term.requires_grad


@pytest.mark.parametrize(
    ("arrays", "words"),
    [({}, "none of that name"), ({"w": np.zeros(4, dtype=np.float32)}, r"shape \(4,\)")],
)
def test_proximal_term_refuses_to_leave_a_parameter_out(arrays, words):
    with pytest.raises(AppError, match=words):
        proximal_term(Small(), arrays, 1.0)


def test_seeds_differ_by_every_part_and_fit_in_63_bits():
    seeds = {
        derived_seed(seed, round_, part) for seed in range(4) for round_ in range(4) for part in range(4)
    }
    assert len(seeds) == 64
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_determinism_gives_the_same_draws_again_and_others_to_another_round():
    draws = [torch.randperm(20, generator=set_determinism(1, round_, 0)).tolist() for round_ in (3, 3, 4)]
    assert draws[0] == draws[1] != draws[2]
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == 1
