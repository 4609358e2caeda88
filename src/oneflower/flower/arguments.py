"""The arguments of Flower's programs, for ``python -m oneflower.flower.launch``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from oneflower.settings import Settings
from oneflower.tls import Certificates

STATE_VARIABLE: Final = "ONEFLOWER_CLIENT_STATE"
"""Names the folder where clients keep their `context.state`; without it Flower keeps it, for one run."""
DATA_CACHE_VARIABLE: Final = "ONEFLOWER_DATA_CACHE"
"""Names the folder where decoded data are kept; without it each message decodes them."""
NAME = "client-name"
"""The key of a node's config: what its client is called in place of its machine's name."""
LONGEST_NAME = 64
_PARENTHESES, _OTHERS = re.compile(r"[()]"), re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class SuperLinkPlaces:
    """Where a SuperLink listens (``host:port``), and where it keeps its database and files."""

    fleet: str
    control: str
    serverappio: str
    database: str
    storage: str


def superlink(settings: Settings, places: SuperLinkPlaces, tls: Certificates | None) -> list[str]:
    """Return a SuperLink's arguments; its AppIo API belongs on loopback, for it speaks no TLS."""
    arguments = ["superlink", "--isolation", settings.isolation]
    arguments += ["--fleet-api-address", places.fleet, "--control-api-address", places.control]
    arguments += ["--serverappio-api-address", places.serverappio]
    arguments += ["--database", places.database, "--storage-dir", places.storage]
    if tls is None:
        return [*arguments, "--insecure"]
    arguments += ["--ssl-ca-certfile", str(tls.ca), "--ssl-certfile", str(tls.certificate)]
    arguments += ["--ssl-keyfile", str(tls.key)]
    return [*arguments, *(["--enable-supernode-auth"] if settings.node_auth else [])]


def supernode(  # noqa: PLR0913 - by name only
    settings: Settings,
    *,
    superlink_address: str,
    clientappio: str,
    node_config: str,
    ca: str | None,
    key: str | None = None,
) -> list[str]:
    """Return a SuperNode's arguments.

    ``ca`` is the authority's file, None for no TLS; ``key`` is the file of its private key, None for none.
    """
    arguments = ["supernode", "--isolation", settings.isolation]
    arguments += ["--superlink", superlink_address, "--clientappio-api-address", clientappio]
    arguments += ["--node-config", node_config]
    # 0 means unlimited here; Flower 1.25.0 reads 0 as "give up at the first failure".
    if settings.max_retries:
        arguments += ["--max-retries", str(settings.max_retries)]
    if settings.max_wait_time:
        arguments += ["--max-wait-time", str(settings.max_wait_time)]
    arguments += ["--root-certificates", ca] if ca else ["--insecure"]
    return [*arguments, *(["--auth-supernode-private-key", key] if key else [])]


def superexec(plugin: str, appio_address: str) -> list[str]:
    """Return the arguments of an executor of its own (FL_ISOLATION=process): serverapp or clientapp."""
    return ["superexec", "--insecure", "--plugin-type", plugin, "--appio-api-address", appio_address]


def client_name(text: str) -> str:
    """Return a name as a node config can hold it: letters, digits, and dashes for all else."""
    plain = _PARENTHESES.sub("", text[: 4 * LONGEST_NAME])  # OneFlow calls a VM supernode_0_(service_7)
    return _OTHERS.sub("-", plain)[:LONGEST_NAME].strip("-")


def node_config(pairs: Mapping[str, object]) -> str:
    """Write a node config."""
    return " ".join(f"{key}={value}" for key, value in pairs.items())
