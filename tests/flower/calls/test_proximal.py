"""An app that knows nothing of FedProx trains as one that adds the proximal term to its loss."""

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from torch import nn

from oneflower.flower.calls.call import call_client
from oneflower.flower.calls.control import Control, with_control
from oneflower.flower.client_mark import take_mark
from oneflower.sdk.client import RoundInfo, proximal_term

MU = 0.5


@pytest.fixture(autouse=True)
def _torch_as_it_was():
    yield
    torch.use_deterministic_algorithms(False)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def batches(steps=6):
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 4, generator=generator), torch.arange(8) % 3) for _ in range(steps)]


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


OPTIMIZERS = {
    "sgd": sgd,
    "momentum": lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01),
    "adam": lambda m: torch.optim.Adam(m.parameters(), lr=0.01),
    "adamw": lambda m: torch.optim.AdamW(m.parameters(), lr=0.01, weight_decay=0.1),
    "foreach": lambda m: torch.optim.SGD(m.parameters(), lr=0.1, foreach=True),
    "rmsprop": lambda m: torch.optim.RMSprop(m.parameters(), lr=0.01),
}


def loss_of(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def plain_loop(model, optimizer, term):
    for batch in batches():
        optimizer.zero_grad()
        (loss_of(model, batch) + term(model)).backward()
        optimizer.step()


def closure_loop(model, optimizer, term):
    for batch in batches():

        def closure(batch=batch):
            optimizer.zero_grad()
            loss = loss_of(model, batch) + term(model)
            loss.backward()
            return loss

        optimizer.step(closure)


def accumulating_loop(model, optimizer, term):
    for first, second in zip(batches()[::2], batches()[1::2], strict=True):
        optimizer.zero_grad()
        for batch in (first, second):
            ((loss_of(model, batch) + term(model)) / 2).backward()
        optimizer.step()


def app_of(loop, make_optimizer=sgd, *, own=False, make=network, load=None):
    """Return an app whose loop adds the term to its loss, or knows nothing of it."""

    def app(message, context):
        model = make()
        (load or (lambda m, a: m.load_state_dict(a.to_torch_state_dict())))(model, message.content["arrays"])
        reference = {name: value.detach().clone() for name, value in model.named_parameters()}
        mu = message.content["config"]["proximal-mu"] if own else 0.0
        loop(model, make_optimizer(model), lambda m: proximal_term(m, reference, mu) if own else 0.0)
        content = {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord({"num-examples": 1})}
        return Message(RecordDict(content), reply_to=message)

    return app


def ask(app, *, mu=MU, who="auto", kind="train", arrays=None, key="proximal-mu"):
    arrays = ArrayRecord(network().state_dict()) if arrays is None else arrays
    content = RecordDict({"arrays": arrays, "config": ConfigRecord({"lr": 0.1, **({key: mu} if mu else {})})})
    control = Control(training="ab" * 8, session="cd" * 8, round=1, seed=1, proximal_term=who)
    message = Message(with_control(content, control), 1, kind)
    message.metadata.__dict__["_src_node_id"] = 2
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    return call_client(app, message, context)


def trained(app, **options):
    reply = ask(app, **options)
    assert not reply.has_error(), reply.error.reason
    return {name: array.numpy() for name, array in reply.content["arrays"].items()}


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


# --- the oracle: the term in the loss -------------------------------------------------------------


@pytest.mark.parametrize("loop", [plain_loop, closure_loop, accumulating_loop])
def test_sgd_ends_with_the_bytes_of_the_term_in_the_loss(loop):
    if loop is accumulating_loop:  # the halves of the term are rounded one by one there
        ours, theirs = trained(app_of(loop)), trained(app_of(loop, own=True))
        assert all(np.allclose(ours[name], theirs[name], atol=1e-6) for name in ours)
    else:
        assert same(trained(app_of(loop)), trained(app_of(loop, own=True)))
    assert not same(trained(app_of(loop)), trained(app_of(loop), mu=0.0))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_gets_the_gradient_of_the_term(name):
    ours, theirs = (trained(app_of(plain_loop, OPTIMIZERS[name], own=own)) for own in (False, True))
    assert all(np.allclose(ours[each], theirs[each], atol=1e-6) for each in ours)


def test_a_line_search_sees_the_term_in_the_loss():
    lbfgs = lambda m: torch.optim.LBFGS(m.parameters(), max_iter=4, line_search_fn="strong_wolfe")  # noqa: E731
    ours, theirs = (trained(app_of(closure_loop, lbfgs, own=own)) for own in (False, True))
    assert all(np.allclose(ours[each], theirs[each], atol=1e-4) for each in ours)
    assert not same(ours, trained(app_of(closure_loop, lbfgs), mu=0.0))


def test_several_optimizers_and_a_new_one_every_epoch_have_one_global_model():
    def loop(model, _, term):
        for batch in batches():
            for part in (model[0], model[1], model[3]):
                optimizer = torch.optim.SGD(part.parameters(), lr=0.1)
                optimizer.zero_grad()
                (loss_of(model, batch) + term(model)).backward()
                optimizer.step()

    assert same(trained(app_of(loop)), trained(app_of(loop, own=True)))


def test_a_scale_of_the_gradients_that_the_optimizer_divides_by_is_the_terms_too():
    """As GradScaler does with fused optimizers, whose gradients it leaves scaled."""

    def loop(model, optimizer, term):
        for batch in batches():
            optimizer.zero_grad()
            (8 * (loss_of(model, batch) + term(model))).backward()
            optimizer.grad_scale, optimizer.found_inf = torch.tensor(8.0), torch.tensor(0.0)
            optimizer.step()

    def make(model):
        return torch.optim.SGD(model.parameters(), lr=0.1, fused=True)

    assert same(trained(app_of(loop, make)), trained(app_of(loop, make, own=True)))


def test_an_optimizer_within_an_optimizer_gets_the_term_once():
    class Around(torch.optim.Optimizer):
        def __init__(self, parameters):
            self.base = torch.optim.SGD(parameters, lr=0.1)
            super().__init__(self.base.param_groups, {})

        def step(self, closure=None):
            self.base.step()

    around = trained(app_of(plain_loop, lambda m: Around(list(m.parameters()))))
    assert same(around, trained(app_of(plain_loop)))


# --- what has a global value ----------------------------------------------------------------------


def test_names_do_not_matter_and_frozen_parameters_stay():
    def make():
        model = network()
        model[0].weight.requires_grad_(False)
        return model

    def load(model, arrays):
        names = list(model.state_dict())
        model.load_state_dict(dict(zip(names, arrays.to_torch_state_dict().values(), strict=True)))

    renamed = ArrayRecord({f"x{i}": value for i, value in enumerate(network().state_dict().values())})
    ours = trained(app_of(plain_loop, make=make, load=load), arrays=renamed)
    assert same(ours, trained(app_of(plain_loop, own=True, make=make)))
    assert np.array_equal(ours["0.weight"], network().state_dict()["0.weight"].numpy())


def test_a_head_that_stays_local_is_left_out_and_reported():
    shared = ArrayRecord({k: v for k, v in network().state_dict().items() if not k.startswith("3.")})

    def make():
        model = network()
        nn.init.ones_(model[3].weight)
        nn.init.ones_(model[3].bias)
        return model

    app = app_of(
        plain_loop, make=make, load=lambda m, a: m.load_state_dict(a.to_torch_state_dict(), strict=False)
    )
    reply = ask(app, arrays=shared)
    mark = take_mark(reply)
    assert (mark.proximal, mark.left_out) == ("added", "[3, 8], [3]")


def test_a_model_in_half_precision_has_the_rounded_values():
    def load(model, arrays):
        model.load_state_dict(arrays.to_torch_state_dict())
        model.to(torch.bfloat16)

    def app(message, context):
        model = network()
        load(model, message.content["arrays"])
        optimizer = sgd(model)
        for rows, labels in batches():
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(rows.to(torch.bfloat16)).float(), labels).backward()
            optimizer.step()
        return Message(RecordDict({"metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

    assert take_mark(ask(app)).proximal == "added"


def test_a_training_none_of_whose_arrays_came_with_the_message_is_refused():
    reply = ask(
        app_of(
            plain_loop,
            load=lambda m, a: nn.init.ones_(m[0].weight),
            make=lambda: nn.Sequential(nn.Linear(4, 3, bias=False)),
        )
    )
    assert "FL_PROXIMAL_TERM=app" in reply.error.reason


# --- whose term it is -----------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["proximal-mu", "proximal_mu"])
def test_an_app_that_reads_mu_adds_the_term_itself(key):
    def app(message, context):
        message.content["config"].get(key, 0.0)
        return app_of(plain_loop)(message, context)

    assert same(trained(app, key=key), trained(app_of(plain_loop), mu=0.0))
    assert take_mark(ask(app, key=key)).proximal == "app"


def test_round_info_is_no_reading_of_mu_until_the_app_takes_it():
    def app(message, context):
        info = RoundInfo.from_message(message, context)
        if context.run_config.get("take"):
            assert info.proximal_mu == MU
        return app_of(plain_loop)(message, context)

    assert take_mark(ask(app)).proximal == "added"
    assert take_mark(ask(app_of(plain_loop, own=True))).proximal == "app"


def test_a_copied_config_counts_where_the_apps_code_names_the_term():
    def app(message, context):
        assert dict(message.content["config"])["proximal-mu"] == MU
        return app_of(plain_loop)(message, context)

    assert take_mark(ask(app)).proximal == "app"  # this file is the app, and names it


def test_the_operator_switches_it_off():
    assert same(trained(app_of(plain_loop), who="app"), trained(app_of(plain_loop), mu=0.0))


def test_without_an_optimizer_of_torch_nothing_is_seen_and_that_is_reported():
    def app(message, context):
        return Message(RecordDict({"metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

    assert take_mark(ask(app)).proximal == "unseen"
    assert take_mark(ask(app, kind="evaluate")).proximal == ""
    assert take_mark(ask(app, mu=0.0)).proximal == ""


def test_after_the_message_optimizers_are_as_before():
    trained(app_of(plain_loop))
    model = network()
    optimizer = sgd(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for each in model.parameters():
        each.grad = torch.zeros_like(each)
    optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_config_that_an_app_sends_back_arrives():
    def app(message, context):
        return Message(RecordDict({"config": message.content["config"]}), reply_to=message)

    reply = ask(app)
    assert type(reply.content["config"]).__qualname__ == "ConfigRecord"
    assert ConfigRecord.inflate(reply.content["config"].deflate()) == {"lr": 0.1, "proximal-mu": MU}
