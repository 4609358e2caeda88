"""Check one client's replies: their form, determinism, and whether the client uses mu and lr."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from oneflower.aggregation import (
    AggregationError,
    NDArray,
    Update,
    readers,
)
from oneflower.aggregation.optimizers import CLIENT_LR
from oneflower.checkpoints import model_digest
from oneflower.findings import Finding, Outcome, ok, problem, skipped, warning
from oneflower.flower.api import RecordDict
from oneflower.flower.calls.control import APP, AUTO
from oneflower.flower.records import array_views
from oneflower.lab.app_check.forms import Sent, misfit
from oneflower.lab.app_check.probe import Probe, Way
from oneflower.lab.app_check.remedies import Remedies
from oneflower.training.replies import ReplyError, parse_evaluation, parse_update

TRAIN, REPEATS, MU, LR = "train-reply", "determinism", "proximal-mu", "learning-rate"
EVALUATE = "evaluate-reply"
LARGE_MUS = (10.0, 1.0, 0.1)
"""Tried in turn: a step overshoots where lr times mu is above 2, and the app chooses the learning rate."""
STATISTICS = ("running_mean", "running_var")
"""Statistics of batch normalisation are sent with the weights; the proximal term does not act on them."""
NO_FUNCTION = "No evaluate function registered"

HOW_TO_LET_ADD = "Set FL_PROXIMAL_TERM=auto: oneflower then adds the term to the app's optimizer"
HOW_TO_USE_LR = (
    "Train with oneflower.sdk.client.RoundInfo.from_message(message, context).lr, or with the app's own rate "
    "where it is None: then the server sends none"
)
HOW_TO_FIX_CLIENT = "Fix the client; `oneflower simulate --clients 2 --app DIR` shows the whole traceback"
HOW_TO_SEND_ARRAYS = "Reply with arrays of numbers: integers, floats or booleans"
HOW_TO_EVALUATE = "Reply to evaluate with one MetricRecord that holds num-examples and what was measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A model that came back: its digest, and how far its weights are from those that were sent."""

    digest: str
    distance: float

    @classmethod
    def from_update(cls, update: Update, sent: Sent) -> Self:
        """Compare an update with the model that was sent."""
        came = sent.arrays
        squares = (_squared(update.arrays[name], came[name]) for name in came if _is_weight(name))
        return cls(digest=model_digest(update.arrays), distance=math.sqrt(sum(squares)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCheck:
    """What the checks of a client need besides its messages.

    Attributes
    ----------
    is_fedprox
        FL_STRATEGY sends a mu: a client that ignores it is a problem then.
    adds_term
        FL_PROXIMAL_TERM is auto: oneflower adds the term where the app does not.
    replaced_by
        The FL_STRATEGY that replaces the app's strategy: it reads replies of the model's form alone.
    begin
        Is told of each step before it runs.
    """

    probe: Probe
    remedies: Remedies
    is_fedprox: bool = True
    adds_term: bool = True
    replaced_by: str = ""
    begin: Callable[[str], None] = lambda _: None

    def told(self, found: str, fix: str = "") -> Finding:
        """Return a finding that the proximal term is missing."""
        make = problem if self.is_fedprox else warning
        return make(MU, found, fix or self.remedies.mu)


def check_client(check: ClientCheck) -> Iterator[Finding]:
    """Train one client several times and evaluate it once."""
    probe, remedies = check.probe, check.remedies
    check.begin("training the client")
    if probe.way is not Way.SDK and not check.replaced_by and not _is_averaged(probe):
        yield from _check_any_replies(check)
        return
    if probe.arrays is None:
        yield problem(TRAIN, "the server's message does not hold one array record", remedies.reply)
        return
    try:
        sent = Sent.of(array_views(probe.arrays))
    except AggregationError as error:
        said = f"the server sends a model that cannot be averaged: {error}"
        yield problem(TRAIN, said, remedies.reply)
        return
    reply = probe.ask(config={"proximal-mu": 0.0})
    try:
        update = parse_update(reply, sent.schema, weighted_by=probe.weighted_by)
    except ReplyError as error:
        yield misfit(TRAIN, error, probe.way, replaced_by=check.replaced_by, remedy=remedies.reply)
        sent = sent.with_dtypes_of(reply)
    else:
        examples = f"{probe.weighted_by} {update.num_examples:g}"
        yield ok(TRAIN, f"{len(sent.schema)} arrays and {examples}, as they must be")
    try:
        plain = Trained.from_update(parse_update(reply, sent.schema, weighted_by=probe.weighted_by), sent)
    except ReplyError:
        yield from (skipped(name, "the client does not train") for name in (REPEATS, MU, LR))
    else:
        yield from _check_training(check, plain, sent)
    check.begin("evaluating on the client (evaluate-reply)")
    yield _evaluation(probe)


def _check_training(check: ClientCheck, plain: Trained, sent: Sent) -> Iterator[Finding]:
    check.begin("training the client a second time (determinism)")
    repeats = _determinism(check, plain, sent)
    yield repeats
    # With the same global seed, a client that seeds nothing can be checked too.
    same = repeats.outcome is Outcome.OK
    if not same and _trained(check.probe, sent, global_seed=1, mu=0.0) != plain:
        yield from (skipped(name, "two trainings with the same seeds differ") for name in (MU, LR))
        return
    check.begin("training the client with a large mu (proximal-mu)")
    yield _proximal(check, plain, sent)
    check.begin("training the client with another lr (learning-rate)")
    yield _learning_rate(check.probe, plain, sent)


def _is_averaged(probe: Probe) -> bool:
    """Whether the client replies with one model of the form that it was sent: not so trees, or statistics."""
    if probe.arrays is None:
        return False
    reply = probe.ask(config={"proximal-mu": 0.0})
    try:
        schema = Sent.of(array_views(probe.arrays)).with_dtypes_of(reply).schema
        parse_update(reply, schema, weighted_by=probe.weighted_by)
    except (AggregationError, ReplyError):
        return False
    return True


def _check_any_replies(check: ClientCheck) -> Iterator[Finding]:
    """Train a client twice whose replies only the app's own server reads."""
    replies = []
    for seed in (1, 2):
        check.begin(f"training the client ({'train-reply' if seed == 1 else 'determinism'})")
        reply = check.probe.ask(global_seed=seed)
        if reply.has_error():
            yield problem(TRAIN, f"the client fails: {reply.error.reason}", HOW_TO_FIX_CLIENT)
            return
        unreadable = _unreadable(reply.content)
        if unreadable:
            yield problem(TRAIN, unreadable, HOW_TO_SEND_ARRAYS)
            return
        replies.append(dict(reply.content))
    first, second = replies
    yield ok(TRAIN, "a reply that the app's own server reads")
    if first == second:
        yield ok(REPEATS, "the same seed, round and partition gave the same reply twice")
    else:
        said = "the same seed, round and partition gave two replies"
        yield problem(REPEATS, said, check.remedies.repeat)
    yield from (skipped(name, "the replies are no model to average") for name in (MU, LR, EVALUATE))


def _unreadable(content: RecordDict) -> str:
    """Say which array of a reply would have it refused in each round; empty where all can be read."""
    for name, record in content.array_records.items():
        try:
            array_views(record)
        except AggregationError as error:
            return f"the server refuses the reply: record {name!r}: {error}"
    return ""


def _determinism(check: ClientCheck, plain: Trained, sent: Sent) -> Finding:
    again = _trained(check.probe, sent, global_seed=2, mu=0.0)
    if again is None:
        said = "the client failed when it got the same message again"
        return problem(REPEATS, said, check.remedies.repeat)
    if again.digest == plain.digest:
        return ok(REPEATS, "the same seed, round and partition gave the same bytes twice")
    return problem(
        REPEATS,
        "the same seed, round and partition gave two models: a training that was resumed does not end with "
        "the bytes of one that was not",
        check.remedies.repeat,
    )


def _proximal(check: ClientCheck, plain: Trained, sent: Sent) -> Finding:
    distances = [f"{plain.distance:.3g} with mu 0"]
    for mu in LARGE_MUS:
        held = _trained(check.probe, sent, global_seed=1, mu=mu)
        if held is not None and held.digest == plain.digest:
            return _ignored(check, plain, sent, mu)
        distance = math.nan if held is None else held.distance
        distances.append(f"{distance:.3g} with mu {mu:g}")
        if distance < plain.distance:
            return ok(MU, f"the update's distance to the global model is {', '.join(distances)}")
    return check.told(
        f"mu changes the update and does not keep it close: its distance to the global model is "
        f"{', '.join(distances)}"
    )


def _ignored(check: ClientCheck, plain: Trained, sent: Sent, mu: float) -> Finding:
    """Say what a client that ignores mu gets: oneflower's term, if settings and optimizer allow it."""
    said = (
        f"the client ignores proximal-mu: with mu 0 and with mu {mu:g} its update is the same to the last "
        f"byte. FL_STRATEGY=FedProx would train as FedAvg does, whatever FL_PROXIMAL_MU is"
    )
    added = _trained(check.probe, sent, global_seed=1, mu=mu, proximal_term=AUTO)
    if added is None or not added.distance < plain.distance:
        return check.told(
            f"{said}. (One step a round has no proximal term either: it starts at the global model)"
        )
    if not check.adds_term:
        return check.told(f"{said}. FL_PROXIMAL_TERM=app leaves the term to the app", HOW_TO_LET_ADD)
    return ok(
        MU,
        f"oneflower adds the proximal term to the app's optimizer: its distance to the global "
        f"model is {plain.distance:.3g} with mu 0 and {added.distance:.3g} with mu {mu:g}",
    )


def _learning_rate(probe: Probe, plain: Trained, sent: Sent) -> Finding:
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
    reply, weight = probe.ask("evaluate"), probe.weighted_by
    if reply.has_error() and NO_FUNCTION in (reply.error.reason or ""):
        return warning(
            EVALUATE,
            "the client has no @app.evaluate(): only the server can measure the model",
            HOW_TO_EVALUATE,
        )
    try:
        measured = sorted(set(parse_evaluation(reply, weighted_by=weight).metrics) - {weight})
    except ReplyError as error:
        return problem(EVALUATE, str(error), HOW_TO_EVALUATE)
    if not measured:
        return warning(EVALUATE, f"the client sends {weight} and measures nothing", HOW_TO_EVALUATE)
    return ok(EVALUATE, f"{weight} and {', '.join(measured)}")


def _trained(  # noqa: PLR0913 the last four by name only
    probe: Probe,
    sent: Sent,
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
        return Trained.from_update(parse_update(reply, sent.schema, weighted_by=probe.weighted_by), sent)
    except ReplyError:
        return None


def _is_weight(name: str) -> bool:
    return name.rpartition(".")[2] not in STATISTICS


def _squared(one: NDArray, other: NDArray) -> float:
    if one.dtype.kind != "f":
        return 0.0
    return float(np.square(one.astype(np.float64) - other.astype(np.float64)).sum())
