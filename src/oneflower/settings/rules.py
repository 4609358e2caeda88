"""Rules across variables: contradictions, raised minimums, and settings without effect."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations

from oneflower.aggregation import NUM_MALICIOUS, SPECS, PreAggregation, spec_of
from oneflower.settings.app_rules import of_the_app
from oneflower.settings.formats import LISTEN_ADDRESS, is_loopback, split_address
from oneflower.settings.gpu_rules import gpu_advice, of_the_gpus
from oneflower.settings.preflight import root_data, too_many_malicious
from oneflower.settings.sample_rules import of_the_sample, sample_advice
from oneflower.settings.secrets import shown
from oneflower.settings.settings import Settings
from oneflower.settings.sources import Given, Notice
from oneflower.settings.strategy_rows import rule_of
from oneflower.settings.table import BY_NAME, PEM_VARIABLES, TABLE
from oneflower.settings.use_cases import NO_USE_CASE
from oneflower.settings.values import Text, Value, as_text
from oneflower.settings.variable import Role

_LISTENING = tuple(row for row in TABLE if row.kind == Text(LISTEN_ADDRESS))
# Flower reports a dead node within 60 s; with a shorter timeout a slow client looks like a dead one.
_LEASE_S = 65
_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104  (compared with, not listened on)


def contradictions(given: Mapping[str, Given], values: Mapping[str, Value], role: Role) -> Iterator[str]:
    """Yield the contradictions between values.

    `values` contains, by field, the values that are valid on their own.
    """
    yield from _certificates(frozenset(given), role)
    yield from _addresses(values)
    yield from _dashboard(given, values)
    yield from _control(given, values)
    yield from _mounted_folders(given, values)
    yield from of_the_app(values)
    yield from _target(given)
    yield from _mixing(values)
    yield from of_the_sample(values)
    yield from of_the_gpus(values, role)


def _mixing(values: Mapping[str, Value]) -> Iterator[str]:
    """Refuse means of updates where the rule weighs each update by its examples."""
    kind, strategy = values.get("pre_aggregation", PreAggregation.NONE), values.get("strategy")
    if kind == PreAggregation.NONE or strategy is None:
        return
    if spec_of(rule_of(str(strategy))).weights_by_examples:
        able = ", ".join(spec.name for spec in SPECS if not spec.weights_by_examples)
        yield (
            f"FL_PRE_AGGREGATION is {str(kind)!r} and FL_STRATEGY is {strategy!r}, which weighs by "
            f"examples: expected one of {able} with it, or FL_PRE_AGGREGATION='none'"
        )


def _target(given: Mapping[str, Given]) -> Iterator[str]:
    target = given.get("FL_TARGET_METRIC_VALUE")
    if target and "FL_BEST_METRIC" not in given:
        yield (
            f"FL_TARGET_METRIC_VALUE is {_shown(target)} ({target.source}) and FL_BEST_METRIC is empty: "
            "expected the metric that the target is for; write for example FL_BEST_METRIC='eval_acc', or "
            "'-eval_loss' where lower is better"
        )


def _shown(given: Given) -> str:
    return shown(BY_NAME[given.name.removeprefix("ONEAPP_")], given.text)


def _mounted_folders(given: Mapping[str, Given], values: Mapping[str, Value]) -> Iterator[str]:
    for name, marks, parts in (
        ("FL_CHECKPOINT_PATH", ":,", "of a container mount"),
        ("FL_BASE_MODEL", ":,'", "of a container mount and of a node config"),
    ):
        path = given.get(name)
        if path and any(mark in path.text for mark in marks):
            yield (
                f"{name} is {_shown(path)} ({path.source}): it contains {' or '.join(marks)}, which "
                f"separates the parts {parts}; expected a path without them; rename the folder"
            )
    if values.get("checkpoint_path") == values.get("base_model", ""):
        yield (
            f"FL_CHECKPOINT_PATH and FL_BASE_MODEL are both {values['base_model']!r}: one is written and the "
            "other is read-only; expected two folders; change one of them"
        )


def _certificates(given: frozenset[str], role: Role) -> Iterator[str]:
    present = [name for name in PEM_VARIABLES if name in given]
    missing = [name for name in PEM_VARIABLES if name not in given]
    ca_of_a_supernode = present == ["FL_SSL_CA_CERTFILE"] and role is not Role.SUPERLINK
    if present and missing and not ca_of_a_supernode:
        yield (
            f"{' and '.join(present)} without {' and '.join(missing)}: expected the three of a SuperLink "
            "together or none; give what is missing, or leave all empty to have them created"
        )


def _addresses(values: Mapping[str, Value]) -> Iterator[str]:
    listening = {row.name: str(values[row.field]) for row in _LISTENING if values.get(row.field)}
    for (name_a, text_a), (name_b, text_b) in combinations(listening.items(), 2):
        (host_a, port_a), (host_b, port_b) = split_address(text_a), split_address(text_b)
        if port_a == port_b and (host_a == host_b or _WILDCARDS & {host_a, host_b}):
            yield f"{name_a} is {text_a!r} and {name_b} is {text_b!r}: expected two ports; change one of them"


def _dashboard(given: Mapping[str, Given], values: Mapping[str, Value]) -> Iterator[str]:
    address = str(values.get("dashboard_address", ""))
    if address and "FL_DASHBOARD_TOKEN" not in given and not is_loopback(split_address(address)[0]):
        yield (
            f"FL_DASHBOARD_ADDRESS is {address!r}, which other machines can reach: expected "
            "FL_DASHBOARD_TOKEN with it; run `openssl rand -hex 16` and write what it prints as its value, "
            "or keep 127.0.0.1 and connect through `ssh -L 8265:127.0.0.1:8265 root@SUPERLINK`"
        )


def _control(given: Mapping[str, Given], values: Mapping[str, Value]) -> Iterator[str]:
    """Refuse commands from other machines without TLS and a token: a run executes the sender's code."""
    address = str(values.get("control_api_address", ""))
    if not address or is_loopback(split_address(address)[0]):
        return
    socket = f"/opt/flower/sockets/{split_address(address)[1]}.sock"
    wanted = {
        "FL_TLS_ENABLED=YES": values.get("tls_enabled"),
        "FL_CONTROL_TOKEN (what `openssl rand -hex 16` prints)": "FL_CONTROL_TOKEN" in given,
        "FL_FLOWER_WORKAROUNDS=YES, which asks for the token": values.get("flower_workarounds"),
    }
    missing = [text for text, is_there in wanted.items() if not is_there]
    if missing:
        yield (
            f"FL_CONTROL_API_ADDRESS is {address!r}, where other machines can submit runs, whose code the "
            f"SuperLink and every SuperNode execute: expected {' and '.join(missing)} with it; or keep "
            f"127.0.0.1 and connect to the SuperLink's socket: `ssh -N -L HERE.sock:{socket} root@SUPERLINK`"
        )


def raise_minimums(settings: Settings) -> tuple[Settings, tuple[Notice, ...]]:
    """Raise the minimums that are below what the strategy needs, and warn with both numbers."""
    bound = settings.minimum_updates
    minimums = {
        "FL_MIN_AVAILABLE_CLIENTS": settings.min_available_clients,
        "FL_MIN_FIT_CLIENTS": settings.min_fit_clients,
    }
    notices = tuple(
        Notice(
            level="warning",
            text=f"{name} is {clients}, and {_strategy_text(settings)} needs {bound} clients "
            f"({settings.rule.bound}): the effective minimum is raised to {bound}",
        )
        for name, clients in minimums.items()
        if clients < bound
    )
    raised = replace(
        settings,
        min_available_clients=max(settings.min_available_clients, bound),
        min_fit_clients=max(settings.min_fit_clients, bound),
    )
    return raised, notices


def _strategy_text(settings: Settings) -> str:
    """Return the strategy and what its bound is a function of, as an operator writes it."""
    parameters = settings.strategy_parameters()
    malicious = parameters.get(NUM_MALICIOUS.name)
    assumed = "" if malicious is None else f" with {NUM_MALICIOUS.variable}={malicious}"
    mixed = "" if settings.pre_aggregation == PreAggregation.NONE else f" after {settings.pre_aggregation}"
    return f"FL_STRATEGY={settings.strategy}{mixed}{assumed}"


def advice(settings: Settings, given: Mapping[str, Given], role: Role) -> Iterator[Notice]:
    """Yield what is valid and probably not intended; `settings` have the effective minimums."""
    yield from _minimums(settings)
    yield from _local_users(settings)
    yield from _strategy(settings)
    yield from _timeout(settings)
    yield from sample_advice(settings)
    yield from _stopping(settings)
    yield from _best_metric(settings)
    yield from _joining(settings, given)
    yield from _chosen_framework(settings, given)
    yield from gpu_advice(settings, role)
    yield from _without_effect(settings, given)


def _chosen_framework(settings: Settings, given: Mapping[str, Given]) -> Iterator[Notice]:
    if "ML_FRAMEWORK" in given and settings.framework != settings.ml_framework:
        yield Notice(
            level="info",
            text=f"ML_FRAMEWORK is {settings.ml_framework}, and FL_USE_CASE={settings.use_case} is written "
            f"in {settings.framework}: {settings.framework} is used",
        )


def _minimums(settings: Settings) -> Iterator[Notice]:
    available = settings.min_available_clients
    for name, wanted in settings.clients_needed.items():
        if wanted > available:
            yield Notice(
                level="warning",
                text=f"{name} is {wanted}, more than FL_MIN_AVAILABLE_CLIENTS, which is {available}: "
                f"a round waits for {wanted} clients all the same",
            )


def _local_users(settings: Settings) -> Iterator[Notice]:
    if not settings.flower_workarounds:
        yield Notice(
            level="warning",
            text="FL_FLOWER_WORKAROUNDS is NO: the Control and AppIo APIs listen on loopback ports and ask "
            "for no secret, so that every user of this machine can run code in the cluster; set YES unless "
            "nobody else has an account there",
        )


def _timeout(settings: Settings) -> Iterator[Notice]:
    if settings.round_timeout < _LEASE_S:
        yield Notice(
            level="warning",
            text=f"FL_ROUND_TIMEOUT is {settings.round_timeout}: a client that works longer is left out of "
            f"the round, and it takes Flower up to {_LEASE_S} seconds to notice a dead one; set "
            f"{_LEASE_S} or more unless every client replies sooner",
        )


def _joining(settings: Settings, given: Mapping[str, Given]) -> Iterator[Notice]:
    if settings.authenticates_nodes:
        return
    why = "FL_TLS_ENABLED" if settings.node_auth else "FL_NODE_AUTH"
    if why in given or "FL_NODE_KEYS" in given:
        keys = " FL_NODE_AUTH has no effect without TLS." if settings.node_auth else ""
        yield Notice(
            level="warning",
            text=f"{why} is NO: every machine that reaches FL_FLEET_API_ADDRESS can join as a client.{keys} "
            f"Allow only your own machines to reach it, or set {why}=YES",
        )


def _stopping(settings: Settings) -> Iterator[Notice]:
    stops = settings.early_stop_rounds > 0 or settings.target_metric_value != ""
    if stops and settings.min_evaluate_clients == 0:
        name = "FL_EARLY_STOP_ROUNDS" if settings.early_stop_rounds else "FL_TARGET_METRIC_VALUE"
        yield Notice(
            level="warning",
            text=f"{name} is set and FL_MIN_EVALUATE_CLIENTS is 0: no client evaluates, so the training ends "
            "early only if the app evaluates centrally or reports the metric while it trains",
        )
    if settings.early_stop_delta and settings.early_stop_rounds == 0:
        yield Notice(level="info", text="FL_EARLY_STOP_DELTA has no effect: FL_EARLY_STOP_ROUNDS is 0")
    if 0 < settings.num_rounds <= settings.early_stop_rounds:
        yield Notice(
            level="info",
            text=f"FL_EARLY_STOP_ROUNDS has no effect: it is {settings.early_stop_rounds}, and FL_NUM_ROUNDS "
            f"is {settings.num_rounds}",
        )


def _best_metric(settings: Settings) -> Iterator[Notice]:
    text = settings.best_metric
    if settings.quality.prefers_the_worst:
        yield Notice(
            level="warning",
            text=f"FL_BEST_METRIC is {text!r}: - says that lower is better, so the round with the lowest "
            f"{text[1:].strip()} is taken for the best; write {text[1:].strip()!r} if higher is better",
        )


def _strategy(settings: Settings) -> Iterator[Notice]:
    text = settings.rule.advice(settings.strategy_parameters(), settings.min_fit_clients)
    if text is not None:
        yield Notice(level="warning", text=text)
    yield from too_many_malicious(settings)
    yield from root_data(settings, settings.use_case)


def _without_effect(settings: Settings, given: Mapping[str, Given]) -> Iterator[Notice]:
    off = {row.name for row in TABLE if settings.value_of(row) is False}
    for row in TABLE:
        # A form sends the default of everything that it asks for: only other values were intended.
        if row.name not in given or settings.value_of(row) == row.default:
            continue
        if row.strategies and settings.strategy not in row.strategies:
            yield Notice(
                level="info",
                text=f"{row.name} belongs to {' and '.join(row.strategies)} and is ignored: "
                f"FL_STRATEGY is {settings.strategy}",
            )
        if row.use_cases and settings.use_case not in (*row.use_cases, NO_USE_CASE):
            yield Notice(
                level="info",
                text=f"{row.name} belongs to {' and '.join(row.use_cases)} and is ignored: "
                f"FL_USE_CASE is {settings.use_case}",
            )
        if row.needs in off:
            yield Notice(
                level="warning" if row.name in PEM_VARIABLES else "info",
                text=f"{row.name} has no effect: {row.needs} is {as_text(False)}",
            )
