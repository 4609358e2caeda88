"""The parameter file of a service, for ``oneflow-template instantiate ID FILE``."""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from oneflower.errors import SettingsError
from oneflower.opennebula.templates.oneflow import NETWORK, Form, name_in
from oneflower.settings import (
    BY_NAME,
    TABLE,
    Notice,
    Resolution,
    Role,
    Variable,
    as_text,
    asked,
    form_default,
    resolve,
)
from oneflower.settings.gpu_rules import ON_SUPERLINK
from oneflower.settings.sources import is_unset
from oneflower.settings.table import GPU_VARIABLES

# OneFlow 6 puts answers between quotes, OneFlow 7 deletes ${...}, and oned ends a text at ]]>.
_FORBIDDEN = {Form.SIX: ('"', "\\", "${", "]]>"), Form.SEVEN: ("${", "]]>")}
_LARGEST_CHARACTER = 0xFFFF
_GPU_ANSWERS = {"FL_GPU_ENABLED": "YES"}
_KEYS = {Form.SIX: "custom_attrs_values", Form.SEVEN: "user_inputs_values"}


def service_answers(
    form: Form, pairs: Iterable[str], *, network: int, all_inputs: bool = False, gpu: bool = False
) -> tuple[dict[str, Any], tuple[Notice, ...]]:
    """Return the file's JSON values, and notices for the operator.

    OneFlow refuses a file that lacks an input of the service, so the file has the defaults of all inputs that
    were not given.

    Parameters
    ----------
    pairs
        ``NAME=VALUE``, checked like a context.
    network
        Id of the virtual network.
    all_inputs
        Whether the service was created with all inputs.
    gpu
        Whether it was created with those of GPUs: FL_GPU_ENABLED is YES unless it is given.

    Raises
    ------
    SettingsError
        With every problem.
    """
    given, problems = _parsed(pairs)
    known = {name: text for name, text in given.items() if name in BY_NAME}
    problems += _unknown(given)
    inputs = asked(TABLE, all_inputs=all_inputs, gpu=gpu)
    problems += _not_carried(form, known, {variable.name for variable in inputs})
    resolution, refused = _checked(known, gpu=gpu)
    if resolution is None or problems:
        numbered = [f"{number}. {problem}" for number, problem in enumerate(problems, start=1)]
        head = (
            [f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in NAME=VALUE; nothing was written."]
            if problems
            else []
        )
        raise SettingsError("\n".join([*head, *numbered, *refused]))
    return {
        _KEYS[form]: {
            name_in(form, variable): _answer(variable, resolution)
            for variable in TABLE
            if variable in inputs or variable.name in known
        },
        "networks_values": [{NETWORK: {"id": str(network)}}],
    }, (*(each for each in resolution.notices if each != ON_SUPERLINK), *_published(known))


def _parsed(pairs: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    given: dict[str, str] = {}
    problems = []
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            problems.append(f"{pair[:60]!r} has no =: expected NAME=VALUE, for example FL_SEED=7")
        elif name in given:
            problems.append(f"{name} is given twice: expected once; remove one of them")
        else:
            given[name] = text
    return given, problems


def _unknown(given: Mapping[str, str]) -> Iterator[str]:
    for name in given:
        if name in BY_NAME:
            continue
        near = difflib.get_close_matches(name.upper(), BY_NAME, n=1, cutoff=0.5)
        fix = f"did you mean {near[0]}?" if near else "`oneflower config show` lists them"
        yield f"{name[:80]!r} is not a variable: expected a name from docs/variables.md; {fix}"


def _not_carried(form: Form, known: Mapping[str, str], in_form: Collection[str]) -> Iterator[str]:
    """Yield a problem for each value that would not arrive unchanged: OpenNebula refuses or truncates it."""
    for name, text in known.items():
        if form is Form.SIX and name not in in_form:
            option = "--gpu" if name in GPU_VARIABLES else "--all-inputs"
            yield (
                f"{name} is not an input of the short form, and OneFlow 6 would ignore it: expected a "
                "variable marked * in docs/variables.md; create the service with `template oneflow "
                f"{option}` and add {option} here, or set {name} in the VM template"
            )
        marks = [mark for mark in _FORBIDDEN[form] if mark in text]
        if text.endswith("\\") or any(ord(character) > _LARGEST_CHARACTER for character in text):
            marks.append("a \\ at its end or a character above U+FFFF")
        if marks:
            yield (
                f"{name} contains {' and '.join(marks)}, which OpenNebula truncates or refuses: expected a "
                "value without it; in FL_NODE_CONFIG quote with '"
            )


def _published(known: Mapping[str, str]) -> Iterator[Notice]:
    for name, text in known.items():
        if BY_NAME[name].secret and not is_unset(text):
            yield Notice(
                level="warning",
                text=f"{name} is sent to every VM of the service in plain text, including the SuperNodes: "
                "prefer the one that the SuperLink creates",
            )


def _checked(known: Mapping[str, str], *, gpu: bool) -> tuple[Resolution | None, list[str]]:
    try:
        # A service needs values that its SuperLink accepts.
        return resolve({}, {**(_GPU_ANSWERS if gpu else {}), **known}, role=Role.SUPERLINK), []
    except SettingsError as error:
        return None, [str(error)]


def _answer(variable: Variable, resolution: Resolution) -> str:
    """Write a value in its normal form: OneFlow accepts only text, and empty text means unset."""
    given = resolution.provenance[variable.name].given
    return form_default(variable) if given is None else as_text(variable.parse(given))
