"""How to mend what a check finds, in the words of the framework that the app uses."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from oneflower.lab.app_check.sources import Framework


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedies:
    """One remedy per check."""

    reply: str
    repeat: str
    mu: str
    initial: str


_REPLY = (
    "Reply to train with one ArrayRecord of the same names, shapes and dtypes that came, and one "
    "MetricRecord that holds num-examples; "
)
_REPEAT = (
    "oneflower seeds Python's and NumPy's global generators before each message: find the generator that the "
    "app makes itself. "
)
_ROUND = (
    "with seed = oneflower.sdk.client.derived_seed(info.seed, info.round, info.partition_id) and "
    "info = RoundInfo.from_message(message, context)"
)
_SENT = 'mu = message.content["config"].get("proximal-mu", 0) and w_global the arrays that came'
_FIRST = "Seed before the model is made: "

REMEDIES: Final[Mapping[Framework, Remedies]] = {
    Framework.TORCH: Remedies(
        reply=f"{_REPLY}oneflower.sdk.torch_app.reply makes both, or ArrayRecord(model.state_dict())",
        repeat="Call oneflower.sdk.client.set_determinism(info.seed, info.round, info.partition_id) before "
        "the model and the data loader are made, and shuffle with the generator that it gives: "
        "DataLoader(..., generator=generator)",
        mu="Add oneflower.sdk.client.proximal_term(model, global_arrays, info.proximal_mu) to the loss of "
        "every step, where info = RoundInfo.from_message(message, context) and global_arrays are the arrays "
        "that came; or train with oneflower.sdk.torch_app.fit",
        initial=f"{_FIRST}set_determinism(context.run_config['seed'], 0, 0)",
    ),
    Framework.KERAS: Remedies(
        reply=f"{_REPLY}ArrayRecord(model.get_weights()) makes the first",
        repeat=f"{_REPEAT}Call keras.utils.set_random_seed(seed % 2**32) before the model and the data set "
        f"are made, and give that seed to shuffle(...) and to each keras.random.SeedGenerator, {_ROUND}; on "
        f"a GPU tf.config.experimental.enable_op_determinism(), too",
        mu="Train with an optimizer of Keras 3 (fit, or optimizer.apply): oneflower adds the term there; or "
        f"add mu / 2 times the squared distance of model.trainable_variables to w_global to the loss, with "
        f"{_SENT}",
        initial=f"{_FIRST}keras.utils.set_random_seed(context.run_config['seed'])",
    ),
    Framework.JAX: Remedies(
        reply=f"{_REPLY}ArrayRecord([numpy.asarray(each) for each in jax.tree.leaves(params)]) makes the "
        "first",
        repeat=f"{_REPEAT}JAX has none that is global: make the key from the round, "
        f"jax.random.key(seed % 2**32) {_ROUND}",
        mu="Add 0.5 * mu * sum(jnp.sum((w - w_global) ** 2) over the leaves of params) to the loss that "
        f"jax.grad differentiates, with {_SENT}",
        initial=f"{_FIRST}jax.random.key(context.run_config['seed'])",
    ),
    Framework.SKLEARN: Remedies(
        reply=f"{_REPLY}ArrayRecord([model.coef_, model.intercept_]) makes the first for a linear model",
        repeat=f"{_REPEAT}Give random_state=seed % 2**32 to the estimator, to train_test_split and to "
        f"shuffle, {_ROUND}",
        mu="scikit-learn's estimators have no such term. Set another FL_STRATEGY than FedProx, or train with "
        "partial_fit and after each call move the weights back by learning rate * mu * (w - w_global), with "
        f"{_SENT}",
        initial=f"{_FIRST}random_state=context.run_config['seed'], or start from zeros",
    ),
    Framework.XGBOOST: Remedies(
        reply="Trees are bytes, which no mean combines: start FedXgbBagging or FedXgbCyclic in the server, "
        "and reply with ArrayRecord([numpy.frombuffer(booster.save_raw('json'), dtype=numpy.uint8)]) and one "
        "MetricRecord that holds num-examples",
        repeat=f'{_REPEAT}Put "seed": seed % 2**31 into the parameters where subsample or colsample_* is '
        f'below 1, {_ROUND}; and "nthread": 1',
        mu="Boosted trees have no proximal term: set another FL_STRATEGY than FedProx",
        initial=f'{_FIRST}"seed": context.run_config["seed"] in the parameters, or start from no tree',
    ),
    Framework.NONE: Remedies(
        reply=f"{_REPLY}ArrayRecord([...]) takes a list of NumPy arrays",
        repeat=f"{_REPEAT}Make it from the round, numpy.random.default_rng(seed) {_ROUND}",
        mu=f"Add mu * (w - w_global) to the gradient of every step, with {_SENT}",
        initial=f"{_FIRST}numpy.random.default_rng(context.run_config['seed'])",
    ),
}
