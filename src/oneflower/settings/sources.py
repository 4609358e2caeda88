"""Where values come from: the environment, a context, two names for each variable."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from oneflower.settings.secrets import shown
from oneflower.settings.table import BY_NAME, TABLE
from oneflower.settings.variable import Variable

# An unanswered input arrives as an empty string, and from Sunstone 7.2 as JavaScript's words for nothing.
_UNSET = frozenset({"", "null", "undefined"})
_PREFIX = "FL_"
# Some variables start otherwise, as names of other programs do: there only a near miss is reported.
_OTHER_PREFIXES = tuple(f"{name.partition('_')[0]}_" for name in BY_NAME if not name.startswith(_PREFIX))
# A word that says what was meant where the spelling is nearer to a variable of another subject.
_SUBJECTS = {"GPU": "FL_GPU_ENABLED", "GPUS": "FL_GPU_ENABLED", "CUDA": "FL_CUDA_VISIBLE_DEVICES"}


class Source(StrEnum):
    """Where a value came from."""

    ENVIRONMENT = "environment"
    CONTEXT = "context"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that the operator should know, and that does not prevent a start."""

    level: Literal["warning", "info"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A value as an operator gave it: the name, the text without blanks around it, and the source."""

    name: str
    text: str
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What the sources contain: the value of each variable that is set, problems and notices."""

    given: Mapping[str, Given]
    problems: tuple[str, ...]
    notices: tuple[Notice, ...]


def is_unset(text: str) -> bool:
    """Whether `text` is one of the forms in which OpenNebula sends an unanswered input."""
    return text.strip().lower() in _UNSET


def collect(environ: Mapping[str, str], context: Mapping[str, str]) -> Collected:
    """Find each variable in the environment first, then in the context, under either of its names."""
    sources = ((Source.ENVIRONMENT, environ), (Source.CONTEXT, context))
    given: dict[str, Given] = {}
    problems: list[str] = []
    notices = [notice for source, values in sources for notice in _unknown(values, source)]
    for variable in TABLE:
        found = [each for source, values in sources for each in _named(variable, values, source)]
        problems += _contradictions(variable, found)
        if found:
            given[variable.name] = found[0]
            notices += _overridden(variable, found)
    return Collected(given=given, problems=tuple(problems), notices=tuple(notices))


def _named(variable: Variable, values: Mapping[str, str], source: Source) -> Iterator[Given]:
    for name in (variable.name, variable.alias):
        if name in values and not is_unset(values[name]):
            yield Given(name=name, text=values[name].strip(), source=source)


def _contradictions(variable: Variable, found: list[Given]) -> Iterator[str]:
    for source in (Source.ENVIRONMENT, Source.CONTEXT):
        texts = [each for each in found if each.source is source]
        if len(texts) == 2 and texts[0].text != texts[1].text:
            plain, alias = (shown(variable, each.text) for each in texts)
            yield (
                f"{variable.name} is {plain} and {variable.alias} is {alias} ({source}): "
                f"expected one value, for the two names mean the same variable; remove one of them"
            )


def _overridden(variable: Variable, found: list[Given]) -> Iterator[Notice]:
    loser = next((each for each in found if each.source is not found[0].source), None)
    if loser and loser.text != found[0].text:
        yield Notice(
            level="info",
            text=f"{variable.name}: {shown(variable, found[0].text)} from the {found[0].source} is used, "
            f"not {shown(variable, loser.text)} from the {loser.source}",
        )


def _unknown(values: Mapping[str, str], source: Source) -> Iterator[Notice]:
    for name in sorted(values):
        bare = name.removeprefix("ONEAPP_")
        if bare in BY_NAME:
            continue
        ours = bare.upper().startswith(_PREFIX)
        if not ours and not bare.upper().startswith(_OTHER_PREFIXES):
            continue
        near = _meant(bare.upper()) if ours else _nearest(bare.upper(), cutoff=0.85)
        if not ours and not near:
            continue
        meant = f"; did you mean {near}?" if near else ""
        yield Notice(
            level="warning", text=f"{name[:80]!r} ({source}) is not a known variable and is ignored{meant}"
        )


def _meant(name: str) -> str:
    """Return the variable that a name of ours probably means; empty where none is near."""
    near = _nearest(name, cutoff=0.6)
    for word in name.split("_"):
        if word in _SUBJECTS and word.rstrip("S") not in near.split("_"):
            return _SUBJECTS[word]
    return near


def _nearest(name: str, *, cutoff: float) -> str:
    return next(iter(difflib.get_close_matches(name, BY_NAME, n=1, cutoff=cutoff)), "")
