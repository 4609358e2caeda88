"""Find out a machine's role and context, whatever state it is in."""

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
# one-context's copies of the context that it read last, with its original quoting.
CURRENT = ("run/one-context/context.sh.network", "run/one-context/context.sh.local")
ACCESS = ("ONEGATE_ENDPOINT", "VMID", "TOKENTXT", "ONEGATE_TOKEN")

_ROLE = re.compile(r"appliance configure --role (superlink|supernode)\b")
# Values are not escaped there: one with a newline or a quote is not read completely. Nothing is executed.
_EXPORT = re.compile(r"""^(?:export )?([A-Za-z_][A-Za-z0-9_]*)=["']?(.*?)["']?$""", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A machine's context.

    Attributes
    ----------
    context
        The variables, including the access to OneGate.
    origin
        The file that they were read from; empty if there was none.
    kept
        What ``configure`` kept when it last succeeded; empty before.
    known
        The values of all sources, to mask the secrets among them.
    """

    context: Mapping[str, str]
    origin: str
    kept: Mapping[str, str]
    known: tuple[Mapping[str, str], ...]


def find_machine(layout: Layout) -> Machine:
    """Return the role by the units that ``configure`` wrote, else by the image's appliance.sh.

    Raises
    ------
    SettingsError
        Neither exists.
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
        f"the role of this machine is not known: it has no units of oneflower and no {script}; expected a "
        "VM created from an image of oneflower; give --role superlink or --role supernode"
    )


def find_context(layout: Layout, environ: Mapping[str, str]) -> Found:
    """Read the context that one-context read last, else that of the stages, else the environment."""
    kept, booted = _read(layout.context), read_json(layout.environ)
    one_env = dict(_EXPORT.findall(_text(layout.root / ONE_ENV)))
    sources: list[tuple[str, Mapping[str, str]]] = [
        (str(layout.root / path), _read(layout.root / path)) for path in CURRENT
    ]
    sources += [
        (str(layout.environ), {name: str(value) for name, value in booted.items()}),
        (str(layout.context), kept),
        (str(layout.root / ONE_ENV), one_env if _has_context(one_env) else {}),
        ("the environment", environ if _has_context(environ) else {}),
    ]
    origin, context = next(((name, values) for name, values in sources if values), ("", {}))
    known = (context, one_env, kept, booted, environ)
    access = {name: next((text for each in known if (text := each.get(name, ""))), "") for name in ACCESS}
    given = {name: text for name, text in access.items() if text}
    return Found(context={**context, **given}, origin=origin, kept=kept, known=known)


def _has_context(values: Mapping[str, str]) -> bool:
    """Whether there is more than the token, which contextualization always writes."""
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
