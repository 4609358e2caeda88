"""Check who this machine is to the others: its key, the keys that it knows, the authority that it trusts."""

from collections.abc import Iterator

from oneflower.findings import Finding, ok, problem, skipped, warning
from oneflower.node_keys import NodeKey, Pins
from oneflower.opennebula.appliance.trust import trusted_ca
from oneflower.opennebula.doctor.host import NOT_CONFIGURED, RUN_AGAIN, Host
from oneflower.opennebula.onegate import find_superlink, key_claims, supernode_ids
from oneflower.opennebula.roles import Machine
from oneflower.settings import Settings
from oneflower.tls import read_node_key
from oneflower.words import are, counted

KEY, TRUST = "node-key", "superlink-ca"
_MOST_SHOWN = 8


def keys(host: Host) -> Iterator[Finding]:
    """Check the SuperNode's own key, or the keys that the SuperLink has pinned."""
    resolution = host.facts.resolution
    if resolution is None:
        yield skipped(KEY, "the settings are not valid")
    elif not resolution.settings.authenticates_nodes:
        off = "FL_NODE_AUTH" if not resolution.settings.node_auth else "FL_TLS_ENABLED"
        yield warning(
            KEY,
            f"{off} is NO: every machine that reaches port 9092 can join as a client",
            f"set {off}=YES on both machines, or allow only the SuperNodes to reach the port",
        )
    elif not host.is_configured():
        yield skipped(KEY, NOT_CONFIGURED)
    elif host.machine is Machine.SUPERNODE:
        yield _own(host)
    else:
        yield from _pinned(host)


def trust(host: Host) -> Iterator[Finding]:
    """Compare the SuperLink's CA in OneGate with the one that this SuperNode trusted first."""
    resolution = host.facts.resolution
    if host.machine is Machine.SUPERLINK:
        yield skipped(TRUST, "a SuperNode trusts a SuperLink, not the other way round")
    elif resolution is None:
        yield skipped(TRUST, "the settings are not valid")
    else:
        yield _trusted(host, resolution.settings)


def _trusted(host: Host, settings: Settings) -> Finding:
    if not settings.tls_enabled:
        return skipped(TRUST, "FL_TLS_ENABLED is NO")
    if settings.ssl_ca_certfile:
        return ok(TRUST, "FL_SSL_CA_CERTFILE says whom this machine trusts; OneGate is not asked")
    found = find_superlink(host.facts.service or {})
    if found is None or found.ca is None:
        return skipped(TRUST, "OneGate shows no CA of a SuperLink")
    if not host.layout.trusted_ca.is_file():
        return skipped(TRUST, "no CA was trusted yet: the first one that OneGate shows will be")
    trusted = trusted_ca(host.layout, found.ca)
    if not trusted.alarm:
        return ok(TRUST, "the CA in OneGate is the one that this machine trusted first, or signed by it")
    return problem(
        TRUST,
        "OneGate shows another CA for the SuperLink than the one that this machine trusted first; it is not "
        "followed",
        "if the SuperLink's machine was replaced, remove "
        f"{host.layout.trusted_ca}: the new CA is trusted within a minute; if not, another VM of the "
        "service has written it: forbid that in onegate-server.conf (`:update_by_id: false`)",
    )


def _own(host: Host) -> Finding:
    path = host.layout.node_key
    try:
        key, found = read_node_key(path), path.stat()
    except FileNotFoundError:
        return problem(KEY, f"{path} does not exist: this SuperNode has no key", f"make one: {RUN_AGAIN}")
    except (OSError, ValueError) as error:
        return problem(
            KEY,
            f"{path} is not a private key ({error})",
            f"restore it; or remove it, {RUN_AGAIN}, and remove its old key on the SuperLink",
        )
    if found.st_mode & 0o077:
        return problem(
            KEY, f"{path} can be read by others (mode {found.st_mode & 0o777:o})", f"chmod 600 {path}"
        )
    shown = host.user_template.get("FL_NODE_KEY")
    if host.facts.vm is not None and shown != key.word:
        other = "none" if not shown else "another one"
        fix = "check that flower-report runs: it publishes the key; another VM may have written over it"
        return problem(KEY, f"this SuperNode has the key {key.fingerprint}, and OneGate shows {other}", fix)
    return ok(KEY, f"this SuperNode has the key {key.fingerprint}")


def _pinned(host: Host) -> Iterator[Finding]:
    path = host.layout.node_keys
    try:
        pins = Pins.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        yield skipped(KEY, "no key of a SuperNode is known yet, except those of FL_NODE_KEYS")
        return
    except (OSError, ValueError) as error:
        fix = f"remove {path}: the keys that OneGate shows are pinned again within a minute"
        yield problem(KEY, f"{path} is damaged ({error}): no SuperNode with a new key can join", fix)
        return
    if host.facts.service is not None:
        claims = key_claims(host.facts.service)
        pins = pins.follow(supernode_ids(host.facts.service), claims)
    yield from (_changed(host, pins, vm) for vm in sorted(pins.changed)[:_MOST_SHOWN])
    if not pins.changed:
        known = len(pins.keys)
        yield ok(KEY, f"{counted(known, 'SuperNode')} {are(known)} known by their key: {_listed(pins)}")


def _changed(host: Host, pins: Pins, vm: int) -> Finding:
    known: NodeKey | None = pins.keys.get(vm)
    first = f"its first key is {known.fingerprint}" if known else "another VM has that key"
    path = host.layout.node_keys
    return problem(
        KEY,
        f"OneGate shows the key {pins.changed[vm]} for VM {vm}, but {first}: the new key may not join",
        f"see doctor on VM {vm}: if that is its key now, remove the line of VM {vm} from {path} (or the "
        "file, which pins all keys again); if not, another VM of the service has written it: forbid that "
        "in onegate-server.conf (`:update_by_id: false`)",
    )


def _listed(pins: Pins) -> str:
    shown = [f"VM {vm} {key.fingerprint}" for vm, key in sorted(pins.keys.items())[:_MOST_SHOWN]]
    more = len(pins.keys) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
