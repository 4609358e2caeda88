"""From the sources to checked settings, or to one report of everything that is wrong."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from oneflower.errors import SettingsError
from oneflower.settings.app_rules import fits
from oneflower.settings.meant import meant
from oneflower.settings.preflight import preflight
from oneflower.settings.rules import advice, contradictions, raise_minimums
from oneflower.settings.secrets import reason_shown, shown
from oneflower.settings.settings import Settings
from oneflower.settings.sources import Given, Notice, Source, collect
from oneflower.settings.table import BY_NAME, TABLE, read_by
from oneflower.settings.use_cases import what_fits
from oneflower.settings.values import Value
from oneflower.settings.variable import Consumer, Role, Variable


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where the value of a variable came from.

    Attributes
    ----------
    given
        The text that the operator gave, without blanks around; ``None`` for a default.
    name
        The name under which it was given: the variable's own or its alias.
    raised_to
        The effective number of clients, where the strategy needs more than was asked for.
    """

    given: str | None
    source: Source
    name: str
    raised_to: int | None = None

    @property
    def is_default(self) -> bool:
        """Whether nothing was given."""
        return self.source is Source.DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The settings, where each came from (by variable name), and what the operator should know.

    `preflight` says which strategies withstand FL_NUM_MALICIOUS of the clients that were asked for, before
    their number was raised; it is empty where that is 0.
    """

    settings: Settings
    provenance: Mapping[str, Provenance]
    notices: tuple[Notice, ...]
    preflight: str


def resolve(
    environ: Mapping[str, str], context: Mapping[str, str] | None = None, *, role: Role = Role.BOTH
) -> Resolution:
    """Parse and check all variables; the environment wins over `context`, so that one value can be tried out.

    Parameters
    ----------
    role
        The machine that the settings are for. A SuperLink needs its three certificates together; a
        SuperNode, and BOTH, may have the CA's alone.

    Raises
    ------
    SettingsError
        Listing every problem, each with the value given, what was expected and how to fix it.
    """
    collected = collect(environ, context or {})
    values, problems = _parse_all(collected.given)
    problems = [*collected.problems, *problems, *contradictions(collected.given, values, role)]
    if problems:
        table = [] if fits(values) else [what_fits()]
        raise SettingsError("\n".join([_report(problems, collected.notices), *table]))
    asked = _settings(values, collected.given)
    settings, raised = raise_minimums(asked)
    return Resolution(
        settings=settings,
        provenance=MappingProxyType(
            {variable.name: _provenance(variable, collected.given, asked, settings) for variable in TABLE}
        ),
        notices=(*collected.notices, *raised, *advice(settings, collected.given, role)),
        preflight=preflight(asked, asked.most_updates),
    )


def checkpoint_key(environ: Mapping[str, str]) -> str:
    """Return FL_CHECKPOINT_KEY of an environment, empty without it; SettingsError where it is no key.

    A secret is no option of a command: every user of a machine can read its process list.
    """
    row = BY_NAME["FL_CHECKPOINT_KEY"]
    try:
        return str(row.parse(environ.get(row.name, "")))
    except ValueError as error:
        raise SettingsError(
            f"{row.name}: {error}; expected {row.accepted}. Run `{row.command}`, keep what it prints, and "
            f"give that as {row.name}"
        ) from error


def resolve_for(consumers: Consumer, environ: Mapping[str, str]) -> Settings:
    """Parse what a process reads from its own environment; every other setting has its default.

    Other variables are ignored, and no rule across variables applies: what started the process checks them.

    Raises
    ------
    SettingsError
        Listing every problem of these variables.
    """
    names = {name for row in read_by(consumers) for name in (row.name, row.alias)}
    collected = collect({name: text for name, text in environ.items() if name in names}, {})
    values, problems = _parse_all(collected.given)
    problems = [*collected.problems, *problems]
    if problems:
        raise SettingsError(_report(problems, ()))
    return _settings(values, collected.given)


def _parse_all(given: Mapping[str, Given]) -> tuple[dict[str, Value], list[str]]:
    """Return the values that are valid on their own, by field, and the problems of the others."""
    values: dict[str, Value] = {}
    problems: list[str] = []
    for variable in TABLE:
        if variable.name not in given:
            values[variable.field] = variable.default
            continue
        each = given[variable.name]
        try:
            values[variable.field] = variable.parse(each.text)
        except ValueError as error:
            problems.append(_problem(variable, each, str(error)))
    return values, problems


def _settings(values: Mapping[str, Value], given: Iterable[str]) -> Settings:
    fields: dict[str, Any] = {row.field: values[row.field] for row in TABLE if not row.strategies}
    parameters: dict[str, Any] = {row.field: values[row.field] for row in TABLE if row.strategies}
    travels = frozenset(row.name for row in TABLE if row.travels)
    return Settings(**fields, parameters=parameters, operator_set=travels.intersection(given))


def _problem(variable: Variable, given: Given, reason: str) -> str:
    hint = f" ({variable.hint})" if variable.hint else ""
    return (
        f"{given.name} is {shown(variable, given.text)} ({given.source}): "
        f"{reason_shown(variable, given.text, reason)}; "
        f"expected {variable.accepted}{hint}; {_remedy(variable, given.text)}"
    )


def _remedy(variable: Variable, text: str) -> str:
    near = meant(variable.kind, text)
    if near:
        return f"did you mean {variable.name}='{near}'?"
    if variable.command:
        # Nothing expands $(...) in a context, and nobody may use the token of an example.
        return f"run `{variable.command}` and write {variable.name}='WHAT IT PRINTED', or leave it empty"
    default = f" for the default {variable.default_text}" if variable.default_text else ""
    return f"write for example {variable.name}='{variable.example}', or leave it empty{default}"


def _report(problems: Iterable[str], notices: Iterable[Notice]) -> str:
    lines = [f"{number}. {problem}" for number, problem in enumerate(problems, start=1)]
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    warnings = [f"{notice.level}: {notice.text}" for notice in notices if notice.level == "warning"]
    return "\n".join([f"{count} in the settings; nothing was started.", *lines, *warnings])


def _provenance(
    variable: Variable, given: Mapping[str, Given], asked: Settings, settings: Settings
) -> Provenance:
    each = given.get(variable.name)
    effective = settings.value_of(variable)
    return Provenance(
        given=each.text if each else None,
        source=each.source if each else Source.DEFAULT,
        name=each.name if each else variable.name,
        raised_to=None if effective == asked.value_of(variable) else int(effective),
    )
