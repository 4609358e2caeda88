"""A Keras app that knows nothing of FedProx trains as one that has the proximal term in its loss.

On the backend of KERAS_BACKEND; without it on TensorFlow, or on PyTorch where there is no TensorFlow.
"""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

from oneflower.flower.calls.call import call_client
from oneflower.flower.calls.control import Control, with_control
from oneflower.flower.client_mark import take_mark

with pytest.MonkeyPatch.context() as patch:
    if "KERAS_BACKEND" not in os.environ and importlib.util.find_spec("tensorflow") is None:
        patch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
pytestmark = pytest.mark.filterwarnings("default")

BACKEND = keras.backend.backend()
MU, STEPS = 0.5, 6
ROWS = np.random.default_rng(1).integers(0, 5, (8 * STEPS, 3))
LABELS = np.arange(8 * STEPS) % 3


def network(kind=None, head=3):
    keras.utils.set_random_seed(1)
    layers = [keras.Input((3,)), keras.layers.Embedding(5, 4), keras.layers.Flatten()]
    layers += [keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.ReLU()]
    return (kind or keras.Sequential)([*layers, keras.layers.Dense(head, name=f"head{head}")])


class WithTerm(keras.Sequential):
    """Adds the term to its loss."""

    mu = 0.0
    reference = ()

    def compute_loss(self, *args, **kwargs):
        return super().compute_loss(*args, **kwargs) + self.term()

    def term(self, values=None):
        values = self.trainable_variables if values is None else values
        pairs = zip(values, self.reference, strict=True) if self.mu else ()
        squares = [keras.ops.sum(keras.ops.square(each - reference)) for each, reference in pairs]
        return self.mu / 2 * sum(squares)


def loss_of(labels, logits):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)


def fit(model, optimizer, **options):
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), **options)
    model.fit(ROWS, LABELS, batch_size=8, epochs=2, shuffle=False, verbose=0)


def on_batches(model, optimizer):
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for i in range(0, len(ROWS), 8):
        model.train_on_batch(ROWS[i : i + 8], LABELS[i : i + 8])


def own_loop(model, optimizer):
    optimizer.build(model.trainable_variables)
    step = {"torch": torch_step, "tensorflow": tensorflow_step, "jax": jax_step}[BACKEND](model, optimizer)
    for i in range(0, len(ROWS), 8):
        step(ROWS[i : i + 8], LABELS[i : i + 8])


def torch_step(model, optimizer):
    def step(rows, labels):
        model.zero_grad()
        (loss_of(labels, model(rows, training=True)) + model.term()).backward()
        optimizer.apply([each.value.grad for each in model.trainable_variables], model.trainable_variables)

    return step


def tensorflow_step(model, optimizer):
    import tensorflow as tf

    @tf.function
    def step(rows, labels):
        with tf.GradientTape() as tape:
            loss = loss_of(labels, model(rows, training=True)) + model.term()
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    return step


def jax_step(model, optimizer):
    import jax

    def loss(trainable, other, rows, labels):
        logits, other = model.stateless_call(trainable, other, rows, training=True)
        return loss_of(labels, logits) + model.term(trainable), other

    @jax.jit
    def compiled(trainable, other, state, rows, labels):
        gradients, other = jax.grad(loss, has_aux=True)(trainable, other, rows, labels)
        trainable, state = optimizer.stateless_apply(state, gradients, trainable)
        return trainable, other, state

    def step(rows, labels):
        lists = model.trainable_variables, model.non_trainable_variables, optimizer.variables
        values = compiled(*([each.value for each in some] for some in lists), rows, labels)
        for some, new in zip(lists, values, strict=True):
            for variable, value in zip(some, new, strict=True):
                variable.assign(value)

    return step


def sgd(**options):
    return keras.optimizers.SGD(0.1, **options)


OPTIMIZERS = {
    "momentum": lambda: sgd(momentum=0.9, weight_decay=0.01),
    "clipped": lambda: sgd(clipnorm=0.05),
    "clipped together": lambda: sgd(global_clipnorm=0.05),
    "averaged": lambda: sgd(use_ema=True, ema_overwrite_frequency=2),
    "accumulated": lambda: sgd(gradient_accumulation_steps=2),
    "scaled loss": lambda: keras.optimizers.LossScaleOptimizer(sgd(clipnorm=0.05), initial_scale=8.0),
    "loss scale factor": lambda: sgd(loss_scale_factor=8.0, clipnorm=0.05),
    "adam": lambda: keras.optimizers.Adam(0.01, epsilon=1e-3),
}


def app_of(loop=fit, optimizer=sgd, *, own=False, make=network, load=None):
    """Return an app whose model has the term in its loss, or knows nothing of it."""

    def app(message, context):
        model = make(WithTerm)
        arrays = message.content["arrays"].to_numpy_ndarrays()
        (load or (lambda m, a: m.set_weights(a)))(model, arrays)
        model.mu = message.content["config"]["proximal-mu"] if own else 0.0
        model.reference = [np.array(keras.ops.convert_to_numpy(each)) for each in model.trainable_variables]
        loop(model, optimizer())
        metrics = MetricRecord({"num-examples": 1})
        return Message(
            RecordDict({"arrays": ArrayRecord(model.get_weights()), "metrics": metrics}), reply_to=message
        )

    return app


def ask(app, *, mu=MU, who="auto", weights=None):
    weights = ArrayRecord(network().get_weights() if weights is None else weights)
    config = ConfigRecord({"lr": 0.1, **({"proximal-mu": mu} if mu else {})})
    control = Control(training="ab" * 8, session="cd" * 8, round=1, seed=1, proximal_term=who)
    content = RecordDict({"arrays": weights, "config": config})
    message = Message(with_control(content, control), 1, "train")
    message.metadata.__dict__["_src_node_id"] = 2
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    return call_client(app, message, context)


def trained(app, **options):
    reply = ask(app, **options)
    assert not reply.has_error(), reply.error.reason
    return reply.content["arrays"].to_numpy_ndarrays()


def furthest(one, other):
    return float(np.max([np.abs(a - b).max() for a, b in zip(one, other, strict=True)]))


# --- the oracle: the term in the loss -------------------------------------------------------------


@pytest.mark.parametrize("loop", [fit, on_batches, own_loop])
def test_sgd_ends_where_the_term_in_the_loss_ends(loop):
    ours = trained(app_of(loop))
    assert furthest(ours, trained(app_of(loop, own=True))) < 1e-6
    assert furthest(ours, trained(app_of(loop), mu=0.0)) > 1e-3
    assert take_mark(ask(app_of(loop))).proximal == "added"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_gets_the_gradient_of_the_term(name):
    ours, theirs = (trained(app_of(fit, OPTIMIZERS[name], own=own)) for own in (False, True))
    assert furthest(ours, theirs) < 2e-6


def test_eager_training_is_the_same():
    def eager(model, optimizer):
        fit(model, optimizer, run_eagerly=True)

    assert furthest(trained(app_of(eager)), trained(app_of(eager, own=True))) < 1e-6


def test_two_fits_and_a_new_optimizer_have_one_global_model():
    def loop(model, optimizer):
        fit(model, optimizer)
        fit(model, sgd())

    assert furthest(trained(app_of(loop)), trained(app_of(loop, own=True))) < 1e-6


# --- what was compiled before ---------------------------------------------------------------------


@pytest.mark.parametrize("kept", [fit, on_batches])
def test_a_model_that_is_kept_between_messages_has_the_global_model_of_each(kept):
    model, optimizer = network(WithTerm), sgd()
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def loop(model, _):
        if kept is fit:
            model.fit(ROWS, LABELS, batch_size=8, epochs=2, shuffle=False, verbose=0)
        else:
            for i in range(0, len(ROWS), 8):
                model.train_on_batch(ROWS[i : i + 8], LABELS[i : i + 8])

    app = app_of(loop, make=lambda _: model)
    other = [each * 0.5 for each in network().get_weights()]
    for weights in (None, other):
        for mu in (0.0, MU, 2.0):
            expected = trained(app_of(kept, own=bool(mu)), weights=weights, mu=mu)
            assert furthest(trained(app, weights=weights, mu=mu), expected) < 2e-6
    assert furthest(trained(app, who="app"), trained(app_of(kept), mu=0.0)) < 1e-6


def test_a_loop_that_is_kept_between_messages_is_right_or_refused():
    model, optimizer = network(WithTerm), sgd()
    optimizer.build(model.trainable_variables)
    step = {"torch": torch_step, "tensorflow": tensorflow_step, "jax": jax_step}[BACKEND](model, optimizer)

    def loop(*_):
        for i in range(0, len(ROWS), 8):
            step(ROWS[i : i + 8], LABELS[i : i + 8])

    app = app_of(loop, make=lambda _: model)
    assert furthest(trained(app), trained(app_of(own_loop, own=True))) < 2e-6
    other = [each * 0.5 for each in network().get_weights()]
    reply = ask(app, weights=other)
    if BACKEND == "tensorflow":
        assert "keeps a tf.function between messages" in reply.error.reason
    else:
        again = reply.content["arrays"].to_numpy_ndarrays()
        assert furthest(again, trained(app_of(own_loop, own=True), weights=other)) < 2e-6


# --- what has a global value ----------------------------------------------------------------------


def test_frozen_variables_stay():
    def make(kind):
        model = network(kind)
        model.layers[0].trainable = False
        return model

    ours = trained(app_of(make=make))
    assert furthest(ours, trained(app_of(own=True, make=make))) < 1e-6
    assert np.array_equal(ours[0], network().get_weights()[0])


def test_a_head_that_stays_local_is_left_out_and_reported():
    def load(model, arrays):
        model.set_weights([*arrays, *model.get_weights()[-2:]])

    shared = network().get_weights()[:-2]
    reply = ask(app_of(make=lambda kind: network(kind, head=4), load=load), weights=shared)
    mark = take_mark(reply)
    assert (mark.proximal, mark.left_out) == ("added", "[8, 4], [4]")


def test_a_training_none_of_whose_arrays_came_with_the_message_is_refused():
    def load(model, arrays):
        model.set_weights([each + 2.0 for each in arrays])

    assert "FL_PROXIMAL_TERM=app" in ask(app_of(load=load)).error.reason


def test_half_precision_and_its_scaled_loss_have_the_term():
    def make(kind):
        keras.config.set_dtype_policy("mixed_float16")
        try:
            return network(kind)
        finally:
            keras.config.set_dtype_policy("float32")

    ours = trained(app_of(make=make))
    assert furthest(ours, trained(app_of(make=make, own=True))) < 1e-4
    assert furthest(ours, trained(app_of(make=make), mu=0.0)) > 1e-3


# --- whose term it is -----------------------------------------------------------------------------


def test_an_app_that_reads_mu_adds_the_term_itself():
    def app(message, context):
        message.content["config"].get("proximal-mu", 0.0)
        return app_of()(message, context)

    assert take_mark(ask(app)).proximal == "app"
    assert furthest(trained(app), trained(app_of(), mu=0.0)) < 1e-6


def test_the_operator_switches_it_off():
    assert furthest(trained(app_of(), who="app"), trained(app_of(), mu=0.0)) < 1e-6


def test_after_the_message_keras_is_as_before():
    methods = [(keras.Optimizer, "apply"), (keras.Model, "fit"), (keras.Model, "train_on_batch")]
    before = [(name in vars(owner), getattr(owner, name)) for owner, name in methods]
    trained(app_of())
    assert [(name in vars(owner), getattr(owner, name)) for owner, name in methods] == before


LATE = """
import sys
import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from oneflower.flower.calls.call import call_client
from oneflower.flower.calls.control import Control, with_control
from oneflower.flower.client_mark import take_mark

def app(message, context):
    import keras
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.set_weights(message.content["arrays"].to_numpy_ndarrays())
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(np.ones((4, 2)), np.ones(4), verbose=0)
    return Message(RecordDict({"metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

arrays = ArrayRecord([np.ones((2, 1), "float32"), np.ones(1, "float32")])
content = RecordDict({"arrays": arrays, "config": ConfigRecord({"proximal-mu": 1.0})})
control = Control(training="ab" * 8, session="cd" * 8, round=1, seed=1, proximal_term="auto")
message = Message(with_control(content, control), 1, "train")
message.metadata.__dict__["_src_node_id"] = 2
assert "keras" not in sys.modules
context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
print("mark:", take_mark(call_client(app, message, context)).proximal)
"""


def test_keras_may_be_imported_in_the_middle_of_the_message():
    environ = {**os.environ, "KERAS_BACKEND": BACKEND}
    ran = subprocess.run(
        [sys.executable, "-c", LATE], env=environ, capture_output=True, text=True, timeout=200, check=False
    )
    assert "mark: added" in ran.stdout, ran.stderr
