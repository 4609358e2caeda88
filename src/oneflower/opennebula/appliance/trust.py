"""What a SuperNode keeps of its SuperLink: the first authority and the last address that were trusted.

What OneGate shows of the SuperLink can be written by any VM of the service, unless OneGate's configuration
forbids it. So it is a hint: the authority that was trusted first decides whom this machine connects to.
"""

import logging
import socket
import ssl
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from oneflower.opennebula.appliance.layout import Layout
from oneflower.settings import Settings
from oneflower.settings.formats import CONNECT_ADDRESS, split_address
from oneflower.tls.checks import vouches

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """The authority to trust (PEM; None if unknown), and why another one was not followed (empty if none)."""

    ca: bytes | None
    alarm: str = ""


def trusted_ca(layout: Layout, published: str | None) -> Trusted:
    """Return the authority to trust, given what OneGate shows now.

    The first is kept. Another one is followed if the kept one has signed it: a SuperLink that renews its
    authority publishes that signature with it.
    """
    kept = _kept(layout)
    if kept is None or published is None:
        return Trusted(ca=kept or (_first(published.encode()) if published else None))
    try:
        shown = _first(published.encode())
    except ValueError as error:
        return Trusted(ca=kept, alarm=_refusal(layout, f"is not readable ({error})"))
    if shown == kept:
        return Trusted(ca=kept)
    if vouches(kept, published.encode()):
        log.warning("authority of the SuperLink renewed, signed by the one before")
        return Trusted(ca=shown)
    return Trusted(ca=kept, alarm=_refusal(layout, "was not signed by the one that this machine trusts"))


def pin(layout: Layout, ca: bytes) -> None:
    """Keep an authority as the one to trust from now on."""
    layout.write(layout.trusted_ca, ca.decode("ascii"))


def allowed_address(settings: Settings, *, known: str, found: str, ca: bytes | None) -> str:
    """Return the address to connect to: another one than the known one must show that it is the SuperLink.

    With TLS the process there must have a certificate of the trusted authority for that address. Without, or
    with an address that the operator gave, there is nothing to compare.
    """
    if settings.superlink_address or not known or found == known or ca is None or not settings.tls_enabled:
        return found
    problem = _handshake_problem(found, ca)
    if not problem:
        return found
    log.warning("address of the SuperLink not followed address=%s kept=%s reason=%s", found, known, problem)
    return known


def known_address(layout: Layout) -> str:
    """Return the address that this machine connected to last; empty if none."""
    try:
        return CONNECT_ADDRESS.parse(layout.known_address.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return ""


def remember_address(layout: Layout, address: str) -> None:
    """Keep the address that this machine connects to."""
    layout.write(layout.known_address, f"{address}\n")


def _refusal(layout: Layout, why: str) -> str:
    return (
        f"the CA certificate that OneGate shows for the SuperLink {why}: it is not followed, and the one "
        f"of before stays. If the SuperLink's machine was replaced, remove {layout.trusted_ca} on this "
        "SuperNode: the new one is trusted within a minute; if not, another VM of the service has written "
        "it"
    )


def _kept(layout: Layout) -> bytes | None:
    try:
        return _first(layout.trusted_ca.read_bytes())
    except (OSError, ValueError):
        return None


def _first(pem: bytes) -> bytes:
    """Return the first certificate alone, in its normal form; ValueError if there is none."""
    return x509.load_pem_x509_certificates(pem)[0].public_bytes(Encoding.PEM)


def _handshake_problem(address: str, ca: bytes) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    host, port = split_address(address)
    try:
        context.load_verify_locations(cadata=ca.decode("ascii"))
        with (
            socket.create_connection((host, port), timeout=TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return ""
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"[:200]
