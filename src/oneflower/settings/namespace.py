"""oneflower's keys in the run-config of an app: in a table of their own, and under plain names where free."""

from collections.abc import Iterable, Mapping
from typing import Any

from oneflower.settings.table import APP_CONFIG_KEYS, BY_KEY, NAMESPACE, OPERATOR_SET
from oneflower.settings.values import Value

_PREFIX = f"{NAMESPACE}."


def declared(own: Mapping[str, Any], flat: Iterable[str]) -> dict[str, Any]:
    """Return the config table of a packed app: Flower refuses to set a key that it does not declare.

    Parameters
    ----------
    own
        The table as the app declares it. Its defaults hold.
    flat
        The keys of that table as Flower flattens them, with dots.
    """
    ours = own.get(NAMESPACE)
    plain = {key: row.default for key, row in BY_KEY.items() if key in free_names(flat)}
    table = {**APP_CONFIG_KEYS, **(ours if isinstance(ours, dict) else {})}
    return {**plain, **own, NAMESPACE: table}


def free_names(own: Iterable[str]) -> frozenset[str]:
    """Return the plain names of oneflower's keys that an app has neither as a key nor as a table."""
    taken = {part for key in own for part in (key, key.partition(".")[0])}
    return frozenset(BY_KEY) - taken


def submitted(run_config: Mapping[str, Value], own: Mapping[str, Value]) -> dict[str, Value]:
    """Return a run-config as the app gets it, whose own keys and their defaults are `own`.

    A key of the app's own that has a plain name gets the operator's value where he set one of its type: what
    he did not set is the author's.
    """
    names = str(run_config.get(OPERATOR_SET, "")).split(",")
    free = free_names(own)
    sent: dict[str, Value] = {}
    for key, value in run_config.items():
        if key not in APP_CONFIG_KEYS:
            sent[key] = value
            continue
        sent[_PREFIX + key] = value
        if key in free:
            sent[key] = value
        elif key in own and key in BY_KEY and BY_KEY[key].name in names:
            sent[key] = _of_its_type(value, own[key])
    return sent


def _of_its_type(value: Value, default: Value) -> Value:
    """Return the value as the type that the author declared; the default where it means something else."""
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value if type(value) is type(default) else default


def key_in(run_config: Mapping[str, object], key: str) -> str:
    """Return the name of one of oneflower's keys in a run-config: that in the table, else the plain one."""
    return _PREFIX + key if _PREFIX + key in run_config else key


def without_namespace(run_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run-config under the plain names, as checkpoints and the supervisor's state have it.

    A key of the app's own that has a plain name, and another value, is `app.<key>`.
    """
    ours = {key.removeprefix(_PREFIX): value for key, value in run_config.items() if key.startswith(_PREFIX)}
    if not ours:
        return dict(run_config)
    own = {key: value for key, value in run_config.items() if not key.startswith(_PREFIX)}
    differing = {
        f"app.{key}" if key in ours else key: value
        for key, value in own.items()
        if key not in ours or ours[key] != value
    }
    return {**ours, **differing}
