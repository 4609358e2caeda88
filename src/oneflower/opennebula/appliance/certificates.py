"""The certificates of a machine: either all created and kept by oneflower, or all given by the operator."""

import base64
import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from oneflower.errors import SettingsError
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.appliance.trust import pin, trusted_ca
from oneflower.opennebula.roles import Machine
from oneflower.settings import BY_NAME, PEM_VARIABLES, Settings
from oneflower.tls import (
    Authority,
    certificate_problems,
    checks,
    make_authority,
    make_server_certificate,
    needs_renewal,
    sign_successor,
    write_private,
)
from oneflower.tls.checks import RENEW_BEFORE

log = logging.getLogger(__name__)

LOCAL = "127.0.0.1"
SUCCESSOR = "successor.pem"


def given_problems(machine: Machine, environ: Mapping[str, str], now: datetime) -> list[str]:
    """Return the problems of the operator's certificates; their encoding is checked with the settings.

    The certificate must also be valid for ``LOCAL``, where the machine's own services connect.
    """
    ca, certificate, key = (base64.b64encode(_pem(environ, name) or b"").decode() for name in PEM_VARIABLES)
    if machine is Machine.SUPERNODE:
        return checks.given_problems(now, ca=ca)
    return checks.given_problems(now, ca=ca, certificate=certificate, key=key, hosts=(LOCAL,))


def ensure_superlink_certificates(
    settings: Settings, layout: Layout, hosts: tuple[str, ...], now: datetime
) -> bool:
    """Install the SuperLink's certificates and return whether they changed.

    A certificate that oneflower created is kept over reboots, and renewed 30 days before it expires or when
    the machine gets another address. The authority is kept while it is valid, so SuperNodes still trust it.
    """
    if settings.ssl_ca_certfile:
        pems = [base64.b64decode(text) for text in _given(settings)]
        return _install(layout, ca=pems[0], certificate=pems[1], key=pems[2])
    kept = layout.certificates
    kept_authority = _kept_authority(layout)
    authority = kept_authority if kept_authority and not _expires(kept_authority, now) else None
    if authority is not None:
        ca = authority.certificate_pem()
        pair = [path.read_bytes() if path.is_file() else b"" for path in (kept.certificate, kept.key)]
        if not needs_renewal(pair[0], pair[1], ca, hosts, now):
            return _install(layout, ca=ca, certificate=pair[0], key=pair[1])
    else:
        authority = make_authority(now)
        # Written first: without it the SuperNodes would not follow to the new authority.
        successor = sign_successor(kept_authority, authority) if kept_authority else b""
        write_private(layout.authority / SUCCESSOR, successor)
        write_private(layout.authority / "ca.pem", authority.certificate_pem())
        write_private(layout.authority / "ca.key", authority.key_pem())
        log.info("certificate authority created expires=%s", authority.certificate.not_valid_after_utc)
    certificate, key = make_server_certificate(authority, hosts, now)
    log.info("superlink certificate created hosts=%s", ",".join(hosts))
    return _install(layout, ca=authority.certificate_pem(), certificate=certificate, key=key)


def published_ca(settings: Settings, layout: Layout) -> str:
    """Return the CA to publish, and its certificate by the authority that it has replaced, if any."""
    ca = layout.certificates.ca.read_text(encoding="ascii")
    successor = layout.authority / SUCCESSOR
    if settings.ssl_ca_certfile or not successor.is_file():
        return ca
    return ca + successor.read_text(encoding="ascii")


def ensure_supernode_ca(settings: Settings, layout: Layout, published: str | None, now: datetime) -> bool:
    """Install the CA that a SuperNode trusts and return whether it changed.

    The first CA that the SuperLink has published is kept; see `trust.trusted_ca`.

    Raises
    ------
    SettingsError
        TLS is enabled, and there is no valid CA to trust: the SuperNode does not start without one.
    """
    if not settings.tls_enabled:
        return False
    ca = base64.b64decode(settings.ssl_ca_certfile) if settings.ssl_ca_certfile else None
    if ca is None:
        ca = trusted_ca(layout, published).ca
        if ca is None:
            raise SettingsError(
                "FL_TLS_ENABLED is YES, but there is no CA certificate to trust: the SuperLink has not "
                "published one through OneGate. Set FL_TLS_ENABLED to the same value on both machines, or "
                "set FL_SSL_CA_CERTFILE"
            )
        problems = list(certificate_problems(now, ca=ca))
        if problems:
            raise SettingsError(f"the CA certificate published by the SuperLink: {'; '.join(problems)}")
        pin(layout, ca)
    return _write(layout, layout.certificates.ca, ca)


def _kept_authority(layout: Layout) -> Authority | None:
    try:
        return Authority.from_pem(
            (layout.authority / "ca.pem").read_bytes(), (layout.authority / "ca.key").read_bytes()
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("certificate authority not usable, creating another one reason=%s", error)
        return None


def _expires(authority: Authority, now: datetime) -> bool:
    return authority.certificate.not_valid_after_utc - now <= RENEW_BEFORE


def _given(settings: Settings) -> tuple[str, str, str]:
    return settings.ssl_ca_certfile, settings.ssl_certfile, settings.ssl_keyfile


def _install(layout: Layout, *, ca: bytes, certificate: bytes, key: bytes) -> bool:
    paths = layout.certificates
    files = ((paths.ca, ca), (paths.certificate, certificate), (paths.key, key))
    changed = [_write(layout, path, content) for path, content in files]
    return any(changed)


def _write(layout: Layout, path: Path, content: bytes) -> bool:
    """Replace a file if its content differs; make it readable for the containers' user."""
    changed = not path.is_file() or path.read_bytes() != content
    if changed:
        write_private(path, content)
    layout.chown_to_containers(path)
    return changed


def _pem(environ: Mapping[str, str], name: str) -> bytes | None:
    """Return a certificate as the settings parse it; None if it is unset or not valid there."""
    variable = BY_NAME[name]
    texts = (environ.get(given, "").strip() for given in (variable.name, variable.alias))
    try:
        return base64.b64decode(str(variable.parse(next(filter(None, texts), "")))) or None
    except ValueError:
        return None
