"""The shared PyTorch parts: arrays in and out of a model, local training, replies."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from torch import nn

from oneflower.errors import AppError
from oneflower.sdk.options import LocalOptions
from oneflower.sdk.torch_app import PlainSGD, fit, load_arrays, model_arrays, reply, shuffled, trained_names


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))


def squared_error(net, batch):
    x, y = batch
    return (net(x) - y).square().mean()


def batches(steps):
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 2, generator=generator), torch.ones(8, 1)) for _ in range(steps)]


def train(net, mu=0.0, lr=0.1, steps=3):
    arrays = load_arrays(net, model_arrays(net))
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    return fit(net, batches(steps), squared_error, optimizer, global_arrays=arrays, proximal_mu=mu)


def test_arrays_survive_the_way_out_and_in_with_their_dtypes():
    """Batch normalisation counts its batches in a 0-d integer array."""
    source, target = model(), model()
    train(source)
    load_arrays(target, model_arrays(source))
    for name, value in source.state_dict().items():
        torch.testing.assert_close(target.state_dict()[name], value, rtol=0, atol=0)
    assert model_arrays(target)["1.num_batches_tracked"].numpy().dtype == np.int64


def test_plain_sgd_trains_the_bits_of_pytorchs_sgd_also_where_parameters_have_no_gradient():
    bits = []
    for optimizer in (PlainSGD, torch.optim.SGD):
        net = model()
        net[0].bias.requires_grad_(requires_grad=False)
        arrays = load_arrays(net, model_arrays(net))
        given = optimizer(net.parameters(), lr=0.1)
        fit(net, batches(20), squared_error, given, global_arrays=arrays, proximal_mu=0.5, accumulate=2)
        bits.append({name: value.numpy().tobytes() for name, value in net.state_dict().items()})
    assert bits[0] == bits[1]


def test_a_step_of_plain_sgd_does_not_import_pytorchs_compiler():
    code = (
        "import sys, torch\n"
        "from oneflower.sdk.torch_app import PlainSGD\n"
        "net = torch.nn.Linear(2, 1)\n"
        "optimizer = PlainSGD(net.parameters(), lr=0.1)\n"
        "optimizer.zero_grad()\n"
        "net(torch.ones(3, 2)).sum().backward()\n"
        "optimizer.step()\n"
        "sys.exit('torch._dynamo' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_arrays_of_another_model_are_refused_with_every_difference():
    arrays = model_arrays(model())
    del arrays["0.bias"]
    arrays["2.weight"] = Array(np.zeros((9, 9)))
    arrays["extra"] = Array(np.zeros(1))
    with pytest.raises(AppError, match="same version of the app") as error:
        load_arrays(model(), arrays)
    for words in ("missing 0.bias", "unknown extra", "2.weight has shape (9, 9), expected (1, 3)"):
        assert words in str(error.value)


def test_accumulated_batches_make_the_step_of_one_large_batch():
    """Batch normalisation aside, whose statistics are those of each batch."""
    steps = []
    for batches_, accumulate in (
        (batches(4), 4),
        ([tuple(map(torch.cat, zip(*batches(4), strict=True)))], 1),
    ):
        torch.manual_seed(0)
        net = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        fit(net, batches_, squared_error, optimizer, global_arrays={}, proximal_mu=0, accumulate=accumulate)
        steps.append(net.weight.detach())
    torch.testing.assert_close(*steps)


def test_only_the_trained_arrays_travel_where_they_are_named():
    net = model()
    for parameter in (*net[0].parameters(), *net[1].parameters()):
        parameter.requires_grad = False
    names = trained_names(net)
    assert names == {"2.weight", "2.bias"}
    arrays = model_arrays(net, names)
    assert set(arrays) == names
    assert set(load_arrays(model(), arrays, names)) == names
    with pytest.raises(AppError, match=r"missing 0\.weight"):
        load_arrays(model(), arrays)


def test_a_large_mu_keeps_the_model_nearer_to_the_global_one():
    moved = {}
    for mu in (0.0, 10.0):
        net = model()
        start = [value.detach().clone() for value in net.parameters()]
        train(net, mu, lr=0.05)
        now = [value.detach() for value in net.parameters()]
        moved[mu] = sum(float((a - b).square().sum()) for a, b in zip(start, now, strict=True))
    assert 0 < moved[10.0] < moved[0.0]


def test_the_loss_that_comes_back_is_the_data_loss_alone():
    """With a learning rate of nothing the model stays, so mu cannot show in the loss."""
    assert train(model(), mu=5.0, lr=0.0) == train(model(), mu=0.0, lr=0.0)


def test_training_that_diverges_is_refused_with_the_learning_rate_named():
    with pytest.raises(AppError, match="Lower the learning rate"):
        train(model(), lr=1e30, steps=10)


def test_training_without_a_batch_is_refused():
    with pytest.raises(AppError, match="no batch"):
        train(model(), steps=0)


def test_a_reply_carries_metrics_and_the_arrays_of_a_trained_model():
    question = Message(
        content=RecordDict({"config": ConfigRecord({}), "arrays": ArrayRecord()}),
        dst_node_id=1,
        message_type="train",
    )
    answer = reply(question, {"num-examples": 3, "train_loss": 0.5}, model_arrays(model()))
    assert dict(answer.content.metric_records["metrics"]) == {"num-examples": 3, "train_loss": 0.5}
    assert set(answer.content.array_records["arrays"]) == set(model().state_dict())
    assert not reply(question, {"num-examples": 3}).content.array_records


def rows_of(count, *, epochs=2, size=4, **kwargs):
    options = LocalOptions(epochs=epochs, batch_size=size, lr=0.1)
    return [b.tolist() for b in shuffled(count, options, torch.Generator().manual_seed(1), **kwargs)]


def test_every_epoch_has_every_row_once_in_an_order_of_its_own():
    rows = rows_of(10)
    assert [len(batch) for batch in rows] == [4, 4, 2, 4, 4, 2]
    first, second = ([row for batch in half for row in batch] for half in (rows[:3], rows[3:]))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_whole_batches_leave_out_the_rest_but_never_everything():
    assert [len(batch) for batch in rows_of(10, epochs=1, whole_batches=True)] == [4, 4]
    assert [len(batch) for batch in rows_of(3, epochs=1, whole_batches=True)] == [3]
