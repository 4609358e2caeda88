"""Check one client's replies: their form, determinism, and whether the client uses mu and lr."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from oneflower.aggregation import (
    WEIGHT,
    AggregationError,
    Arrays,
    NDArray,
    Update,
    model_schema,
    readers,
)
from oneflower.aggregation.optimizers import CLIENT_LR
from oneflower.checkpoints import model_digest
from oneflower.findings import Finding, Outcome, ok, problem, skipped, warning
from oneflower.flower.calls.control import APP, AUTO
from oneflower.flower.records import array_views
from oneflower.lab.app_check.probe import Probe, Way
from oneflower.training.replies import ReplyError, parse_evaluation, parse_update

TRAIN, REPEATS, MU, LR = "train-reply", "determinism", "proximal-mu", "learning-rate"
EVALUATE = "evaluate-reply"
LARGE_MUS = (10.0, 1.0, 0.1)
"""Tried in turn: a step overshoots where lr times mu is above 2, and the app chooses the learning rate."""
STATISTICS = ("running_mean", "running_var")
"""Statistics of batch normalisation are sent with the weights; the proximal term does not act on them."""
NO_FUNCTION = "No evaluate function registered"

HOW_TO_REPLY = (
    "Reply to train with one ArrayRecord of the same names, shapes and dtypes that came, and one "
    "MetricRecord that holds num-examples; oneflower.sdk.torch_app.reply makes both"
)
HOW_TO_REPEAT = (
    "Call oneflower.sdk.client.set_determinism(info.seed, info.round, info.partition_id) before the model "
    "and the data loader are made, and shuffle with the generator that it gives: "
    "DataLoader(..., generator=generator)"
)
HOW_TO_USE_MU = (
    "Add oneflower.sdk.client.proximal_term(model, global_arrays, info.proximal_mu) to the loss of every "
    "step, where info = RoundInfo.from_message(message, context) and global_arrays are the arrays that came; "
    "or train with oneflower.sdk.torch_app.fit"
)
HOW_TO_USE_LR = "Build the optimizer with lr=info.lr or your own: info.lr is None where the server sends none"
HOW_TO_FIX_CLIENT = "Fix the client; `oneflower simulate --clients 2 --app DIR` shows the whole traceback"
HOW_TO_EVALUATE = "Reply to evaluate with one MetricRecord that holds num-examples and what was measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A model that came back: its digest, and how far its weights are from those that were sent."""

    digest: str
    distance: float

    @classmethod
    def from_update(cls, update: Update, sent: Arrays) -> Self:
        """Compare an update with the model that was sent."""
        squares = (_squared(update.arrays[name], sent[name]) for name in sent if _is_weight(name))
        return cls(digest=model_digest(update.arrays), distance=math.sqrt(sum(squares)))


def check_client(probe: Probe, *, is_fedprox: bool = True) -> list[Finding]:
    """Train one client several times and evaluate it once; `is_fedprox` says that FL_STRATEGY sends a mu."""
    if probe.way is not Way.SDK and not _is_averaged(probe):
        return _check_any_replies(probe)
    if probe.arrays is None:
        return [problem(TRAIN, "the server's message does not hold one array record", HOW_TO_REPLY)]
    try:
        sent = array_views(probe.arrays)
        schema = model_schema(sent)
    except AggregationError as error:
        return [problem(TRAIN, f"the server sends a model that cannot be averaged: {error}", HOW_TO_REPLY)]
    try:
        update = parse_update(probe.ask(config={"proximal-mu": 0.0}), schema)
    except ReplyError as error:
        unchecked = [skipped(name, "the client does not train") for name in (REPEATS, MU, LR)]
        return [problem(TRAIN, str(error), HOW_TO_REPLY), *unchecked, _evaluation(probe)]
    plain = Trained.from_update(update, sent)
    findings = [ok(TRAIN, f"{len(sent)} arrays and {WEIGHT} {update.num_examples:g}, as they must be")]
    findings.append(_determinism(probe, plain, sent))
    # With the same global seed, a client that seeds nothing can be checked too.
    if findings[-1].outcome is Outcome.OK or _trained(probe, sent, global_seed=1, mu=0.0) == plain:
        told = problem if is_fedprox else warning
        findings += [_proximal(probe, plain, sent, told), _learning_rate(probe, plain, sent)]
    else:
        findings += [skipped(name, "two trainings with the same seeds differ") for name in (MU, LR)]
    return [*findings, _evaluation(probe)]


def _is_averaged(probe: Probe) -> bool:
    """Whether the client replies with one model of the form that it was sent: not so trees, or statistics."""
    if probe.arrays is None:
        return False
    try:
        parse_update(probe.ask(config={"proximal-mu": 0.0}), model_schema(array_views(probe.arrays)))
    except (AggregationError, ReplyError):
        return False
    return True


def _check_any_replies(probe: Probe) -> list[Finding]:
    """Train a client twice whose replies only the app's own server reads."""
    replies = [probe.ask(global_seed=seed) for seed in (1, 2)]
    for reply in replies:
        if reply.has_error():
            return [problem(TRAIN, f"the client fails: {reply.error.reason}", HOW_TO_FIX_CLIENT)]
    first, second = (dict(reply.content) for reply in replies)
    found = [ok(TRAIN, "a reply that the app's own server reads")]
    if first == second:
        found.append(ok(REPEATS, "the same seed, round and partition gave the same reply twice"))
    else:
        found.append(problem(REPEATS, "the same seed, round and partition gave two replies", HOW_TO_REPEAT))
    return [*found, *(skipped(name, "the replies are no model to average") for name in (MU, LR, EVALUATE))]


def _determinism(probe: Probe, plain: Trained, sent: Arrays) -> Finding:
    again = _trained(probe, sent, global_seed=2, mu=0.0)
    if again is None:
        return problem(REPEATS, "the client failed when it got the same message again", HOW_TO_REPEAT)
    if again.digest == plain.digest:
        return ok(REPEATS, "the same seed, round and partition gave the same bytes twice")
    return problem(
        REPEATS,
        "the same seed, round and partition gave two models: a training that was resumed does not end with "
        "the bytes of one that was not",
        HOW_TO_REPEAT,
    )


def _proximal(
    probe: Probe, plain: Trained, sent: Arrays, told: Callable[[str, str, str], Finding]
) -> Finding:
    distances = [f"{plain.distance:.3g} with mu 0"]
    for mu in LARGE_MUS:
        held = _trained(probe, sent, global_seed=1, mu=mu)
        if held is not None and held.digest == plain.digest:
            added = _trained(probe, sent, global_seed=1, mu=mu, proximal_term=AUTO)
            if added is not None and added.distance < plain.distance:
                return ok(
                    MU,
                    f"oneflower adds the proximal term to the app's optimizer: its distance to the global "
                    f"model is {plain.distance:.3g} with mu 0 and {added.distance:.3g} with mu {mu:g}",
                )
            return told(
                MU,
                f"the client ignores proximal-mu: with mu 0 and with mu {mu:g} its update is the same to the "
                f"last byte. FL_STRATEGY=FedProx would train as FedAvg does, whatever FL_PROXIMAL_MU is. "
                f"(One step a round has no proximal term either: it starts at the global model)",
                HOW_TO_USE_MU,
            )
        distance = math.nan if held is None else held.distance
        distances.append(f"{distance:.3g} with mu {mu:g}")
        if distance < plain.distance:
            return ok(MU, f"the update's distance to the global model is {', '.join(distances)}")
    return told(
        MU,
        f"mu changes the update and does not keep it close: its distance to the global model is "
        f"{', '.join(distances)}",
        HOW_TO_USE_MU,
    )


def _learning_rate(probe: Probe, plain: Trained, sent: Arrays) -> Finding:
    given = probe.config.get("lr")
    lr = given / 2 if isinstance(given, float) else 1.234e-4
    reply = _trained(probe, sent, global_seed=1, mu=0.0, lr=lr)
    if reply is None:
        return problem(LR, f"the client fails where the server sends lr={lr:g}", HOW_TO_USE_LR)
    if reply.digest != plain.digest:
        return ok(LR, "the client trains with the lr that the server sends")
    strategies = " or ".join(spec.name for spec in readers(CLIENT_LR))
    return warning(
        LR,
        f"the client ignores lr: {CLIENT_LR.variable} does nothing under FL_STRATEGY={strategies}",
        HOW_TO_USE_LR,
    )


def _evaluation(probe: Probe) -> Finding:
    reply = probe.ask("evaluate")
    if reply.has_error() and NO_FUNCTION in (reply.error.reason or ""):
        return warning(
            EVALUATE,
            "the client has no @app.evaluate(): only the server can measure the model",
            HOW_TO_EVALUATE,
        )
    try:
        measured = sorted(set(parse_evaluation(reply).metrics) - {WEIGHT})
    except ReplyError as error:
        return problem(EVALUATE, str(error), HOW_TO_EVALUATE)
    if not measured:
        return warning(EVALUATE, f"the client sends {WEIGHT} and measures nothing", HOW_TO_EVALUATE)
    return ok(EVALUATE, f"{WEIGHT} and {', '.join(measured)}")


def _trained(  # noqa: PLR0913 the last four by name only
    probe: Probe,
    sent: Arrays,
    *,
    global_seed: int,
    mu: float,
    lr: float | None = None,
    proximal_term: str = APP,
) -> Trained | None:
    """Train once; None where the client fails, as one does whose loss became infinite."""
    reply = probe.ask(
        global_seed=global_seed,
        config={"proximal-mu": mu} | ({} if lr is None else {"lr": lr}),
        proximal_term=proximal_term,
    )
    try:
        return Trained.from_update(parse_update(reply, model_schema(sent)), sent)
    except ReplyError:
        return None


def _is_weight(name: str) -> bool:
    return name.rpartition(".")[2] not in STATISTICS


def _squared(one: NDArray, other: NDArray) -> float:
    if one.dtype.kind != "f":
        return 0.0
    return float(np.square(one.astype(np.float64) - other.astype(np.float64)).sum())
