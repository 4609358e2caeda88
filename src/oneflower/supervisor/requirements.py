"""The packages that an app asks for, compared with those of this machine before it is submitted."""

import importlib.metadata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from oneflower.errors import SettingsError
from oneflower.flower.app_packages import WHEELS
from oneflower.flower.fab import Fab, dependencies_of
from oneflower.settings.formats import APPS_FOLDER

# The deployment's own: an app that asks for another Flower may run, and no wheel replaces it.
OWN: Final = frozenset({"flwr", "oneflower"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmet:
    """A requirement that this machine does not meet; ``installed`` is empty where the package is absent."""

    name: str
    wanted: str
    installed: str = ""

    def __str__(self) -> str:
        return f"{self.name}: wanted {self.wanted}, installed {self.installed or 'none'}"


def unmet(dependencies: Iterable[str]) -> list[Unmet]:
    """List what is missing or of another version, with what the named extras and packages need in turn.

    A requirement whose marker is false here is none. ``flwr`` and ``oneflower`` are the deployment's: only
    what an extra of oneflower needs is looked at (``oneflower[apps]``).
    """
    found: dict[str, Unmet] = {}
    for text in dependencies:
        for each in _unmet(text, set()):
            found.setdefault(each.name, each)
    return list(found.values())


def _unmet(text: str, seen: set[tuple[str, frozenset[str]]], *, extra: str = "") -> Iterator[Unmet]:
    asked = _parsed(text)
    if asked is None:
        yield Unmet(name=text[:100], wanted="a requirement in the form of pip")
        return
    name = canonicalize_name(asked.name)
    key = (name, frozenset(asked.extras))
    if key in seen or (asked.marker is not None and not asked.marker.evaluate({"extra": extra})):
        return
    seen.add(key)
    version = _installed(name)
    if name not in OWN and (not version or not asked.specifier.contains(version, prereleases=True)):
        yield Unmet(name=_with_extras(asked), wanted=_wanted(asked), installed=version)
    elif version and name != "flwr":  # its extra `simulation` is for one machine without SuperNodes
        extras = sorted(asked.extras) if name in OWN else ["", *sorted(asked.extras)]
        for needed in importlib.metadata.requires(name) or ():
            for each in extras:
                yield from _unmet(needed, seen, extra=each)


def _parsed(text: str) -> Requirement | None:
    try:
        asked = Requirement(text)
        if asked.marker is not None:
            asked.marker.evaluate({"extra": ""})
    except (ValueError, LookupError):  # also of a marker that compares what cannot be compared
        return None
    return asked


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _with_extras(asked: Requirement) -> str:
    return f"{asked.name}[{','.join(sorted(asked.extras))}]" if asked.extras else asked.name


def _wanted(asked: Requirement) -> str:
    return str(asked.specifier) or (f"from {asked.url}" if asked.url else "any version")


def other_flower(dependencies: Iterable[str]) -> str:
    """Return which Flower an app asks for, where that is not the one that is installed; empty where it is."""
    for text in dependencies:
        asked = _parsed(text)
        if asked is not None and canonicalize_name(asked.name) == "flwr":
            version = _installed("flwr")
            return "" if asked.specifier.contains(version, prereleases=True) else str(asked.specifier)
    return ""


def require_packages(fab: Fab) -> None:
    """Raise SettingsError with the list of all packages that the app needs and this machine lacks."""
    missing = unmet(dependencies_of(fab))
    if missing:
        listed = "\n".join(f"  - {each}" for each in missing)
        raise SettingsError(
            f"the app {fab.id} {fab.version} needs packages that this machine lacks:\n{listed}\nPut their "
            f"wheels, with what they need themselves, into {APPS_FOLDER}/{WHEELS} of the SuperLink and of "
            "every SuperNode (`pip download --only-binary=:all: -d wheels PACKAGE`), or ask for the "
            "installed versions in the app's pyproject.toml. Nothing is fetched from the network"
        )
