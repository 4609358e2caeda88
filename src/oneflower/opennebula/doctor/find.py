"""Find out which role a machine has and what its context is, in whatever state it is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from oneflower.errors import SettingsError
from oneflower.files import read_json
from oneflower.opennebula.appliance import services
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.roles import Machine
from oneflower.settings import read_context

APPLIANCE = "etc/one-appliance/service.d/appliance.sh"
ONE_ENV = "run/one-context/one_env"
# What one-context keeps of the context that it has read last, quoted as it came.
CURRENT = ("run/one-context/context.sh.network", "run/one-context/context.sh.local")
ACCESS = ("ONEGATE_ENDPOINT", "VMID", "TOKENTXT", "ONEGATE_TOKEN")

_ROLE = re.compile(r"appliance configure --role (superlink|supernode)\b")
# Values are not escaped there: one that spans lines, or holds a quote, is not seen whole. Nothing is run.
_EXPORT = re.compile(r"""^(?:export )?([A-Za-z_][A-Za-z0-9_]*)=["']?(.*?)["']?$""", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A machine's context.

    Attributes
    ----------
    context
        The variables, with the access to OneGate.
    origin
        The file they came from; empty where there was none.
    kept
        What ``configure`` kept when it last ended well; empty before.
    known
        Every value of every source: what is secret among them must not be shown.
    """

    context: Mapping[str, str]
    origin: str
    kept: Mapping[str, str]
    known: tuple[Mapping[str, str], ...]


def find_machine(layout: Layout) -> Machine:
    """Return the role by what ``configure`` has left, else by the image's appliance.sh.

    Raises
    ------
    SettingsError
        Neither is there.
    """
    for machine, name in (
        (Machine.SUPERLINK, services.SUPERLINK_NAME),
        (Machine.SUPERNODE, services.SUPERNODE_NAME),
    ):
        if (layout.units / f"{name}.service").is_file() and layout.environment(name).is_file():
            return machine
    script = layout.root / APPLIANCE
    if found := _ROLE.search(_text(script)):
        return Machine(found[1])
    raise SettingsError(
        f"this machine shows no role: there are no units of oneflower and no {script}; expected a VM "
        "made from an image of oneflower; give --role superlink or --role supernode"
    )


def find_context(layout: Layout, environ: Mapping[str, str]) -> Found:
    """Read the context that one-context read last, else what the stages had or kept, else the environment."""
    kept, booted = _read(layout.context), read_json(layout.environ)
    one_env = dict(_EXPORT.findall(_text(layout.root / ONE_ENV)))
    sources: list[tuple[str, Mapping[str, str]]] = [
        (str(layout.root / path), _read(layout.root / path)) for path in CURRENT
    ]
    sources += [
        (str(layout.environ), {name: str(value) for name, value in booted.items()}),
        (str(layout.context), kept),
        (str(layout.root / ONE_ENV), one_env if _tells(one_env) else {}),
        ("the environment", environ if _tells(environ) else {}),
    ]
    origin, context = next(((name, values) for name, values in sources if values), ("", {}))
    known = (context, one_env, kept, booted, environ)
    access = {name: next((text for each in known if (text := each.get(name, ""))), "") for name in ACCESS}
    given = {name: text for name, text in access.items() if text}
    return Found(context={**context, **given}, origin=origin, kept=kept, known=known)


def _tells(values: Mapping[str, str]) -> bool:
    """Whether it holds more than the token that contextualization leaves in any case."""
    return "VMID" in values or any(name.startswith("FL_") for name in values)


def _read(path: Path) -> dict[str, str]:
    try:
        return read_context(path)
    except SettingsError:
        return {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
