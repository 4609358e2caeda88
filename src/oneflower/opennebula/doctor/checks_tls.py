"""Check that this machine trusts the SuperLink's certificate, and that Flower responds at its address."""

import base64
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from oneflower.findings import Finding, ok, problem, skipped
from oneflower.opennebula.doctor.checks_network import superlink_address
from oneflower.opennebula.doctor.host import NOT_CONFIGURED, Host
from oneflower.opennebula.onegate import find_superlink
from oneflower.opennebula.roles import Machine
from oneflower.settings.formats import split_address

TLS, FLEET = "tls", "fleet-api"
TIMEOUT_S = 5.0
# The preface of every HTTP/2 client and an empty SETTINGS frame; a server responds with SETTINGS.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS = 4
_HEADER_BYTES = 9
# X509_V_ERR_* of OpenSSL.
_NOT_YET, _EXPIRED = 9, 10
_WRONG_CA = (2, 7, 18, 19, 20, 21, 24, 30)
_WRONG_NAME = (62, 64)


def tls(host: Host) -> Iterator[Finding]:
    """Perform the TLS handshake with the CA that this machine's containers trust."""
    address = superlink_address(host)
    ca = _trusted(host)
    if not host.tls_is_on():
        yield skipped(TLS, "FL_TLS_ENABLED is NO")
    elif not address:
        yield skipped(TLS, "the address of the SuperLink is not known")
    elif not ca and not host.is_configured():
        yield skipped(TLS, NOT_CONFIGURED)
    elif not ca:
        yield problem(
            TLS,
            "this machine has no CA to trust",
            "fix the problems of certificates and service above, then reboot",
        )
    else:
        yield _handshake(host, address, ca)


def fleet(host: Host) -> Iterator[Finding]:
    """Check for HTTP/2, which Flower's gRPC needs; a proxy may accept TLS but not HTTP/2."""
    address = superlink_address(host)
    if not address:
        yield skipped(FLEET, "the address of the SuperLink is not known")
        return
    try:
        with _connected(address, _unverified() if host.tls_is_on() else None) as connection:
            frame = _first_frame(connection)
    except OSError as error:
        yield skipped(FLEET, f"{address} could not be reached, see above ({type(error).__name__})")
        return
    if len(frame) > 3 and frame[3] == _SETTINGS:
        yield ok(FLEET, f"{address} speaks HTTP/2{' over TLS' if host.tls_is_on() else ''}")
    else:
        fix = "check for a proxy or another program on that port: `ss -tlnp` on the SuperLink"
        yield problem(FLEET, f"{address} does not speak HTTP/2, as Flower does: it sent {frame!r}", fix)


def _handshake(host: Host, address: str, ca: str) -> Finding:
    context = _context()
    try:
        context.load_verify_locations(cadata=ca)
    except (ssl.SSLError, ValueError) as error:
        return problem(TLS, f"the CA that this machine trusts is not readable ({error})", _renew(host))
    try:
        with _connected(address, context) as connection:
            version = connection.version() if isinstance(connection, ssl.SSLSocket) else None
            return ok(TLS, f"this machine trusts the certificate of {address} ({version})")
    except OSError as error:
        return _failed(host, address, error)


def _failed(host: Host, address: str, error: OSError) -> Finding:
    same = "set FL_TLS_ENABLED to the same value on both machines"
    match error:
        case ssl.SSLCertVerificationError():
            return _refused(host, address, error)
        case ssl.SSLError():
            return problem(TLS, f"{address} responds, but not with TLS ({error.reason})", same)
        case ConnectionRefusedError() | socket.gaierror():
            return skipped(TLS, f"{address} could not be reached, see above ({type(error).__name__})")
        case TimeoutError():
            found = f"no TLS handshake with {address} within {TIMEOUT_S:.0f} s"
            return problem(TLS, found, "see the check `route`; then restart flower-superlink")
        case _:
            found = f"{address} aborted the TLS handshake ({error.strerror or error})"
            return problem(TLS, found, f"see the check `route`; if it is ok, {same}")


def _refused(host: Host, address: str, error: ssl.SSLCertVerificationError) -> Finding:
    code, reason = error.verify_code, error.verify_message
    if code == _EXPIRED:
        return problem(
            TLS, f"the certificate or CA of {address} has expired", f"check both clocks; {_renew(host)}"
        )
    if code == _NOT_YET:
        return problem(
            TLS, f"the certificate of {address} is not valid yet", "correct the clocks of both machines"
        )
    if code in _WRONG_NAME:
        return problem(
            TLS,
            f"the certificate of {address} is not valid for that name: {reason}",
            "reboot the SuperLink, which creates one for its addresses, or add it to your own certificate",
        )
    if code in _WRONG_CA:
        return problem(
            TLS,
            f"the certificate of {address} was not issued by the CA that this machine trusts: {reason}",
            _renew(host),
        )
    return problem(TLS, f"the certificate of {address} is refused: {reason}", _renew(host))


def _renew(host: Host) -> str:
    if host.machine is Machine.SUPERLINK:
        return "reboot: configure creates matching certificates; set your own as all three variables"
    return (
        "see the check superlink-ca; check that flower-report runs, which reads OneGate every 30 s; if "
        "FL_SSL_CA_CERTFILE is set, set it to the CA that issued the SuperLink's certificate"
    )


def _trusted(host: Host) -> str:
    """Return the CA that the containers trust or, before it is written, the one that would be."""
    kept = _text(host.layout.certificates.ca)
    if kept:
        return kept
    resolution = host.facts.resolution
    if resolution and resolution.settings.ssl_ca_certfile:
        return base64.b64decode(resolution.settings.ssl_ca_certfile).decode("ascii", errors="replace")
    link = find_superlink(host.facts.service or {})
    return (link.ca if link else None) or ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


@contextmanager
def _connected(address: str, context: ssl.SSLContext | None) -> Iterator[socket.socket | ssl.SSLSocket]:
    """Connect, with TLS if a context is given."""
    with socket.create_connection(split_address(address), timeout=TIMEOUT_S) as plain:
        if context is None:
            yield plain
            return
        with context.wrap_socket(plain, server_hostname=split_address(address)[0]) as connection:
            yield connection


def _first_frame(connection: socket.socket) -> bytes:
    """Return the beginning of the response; empty if there is none."""
    try:
        connection.sendall(_PREFACE)
        return connection.recv(_HEADER_BYTES)
    except OSError:
        return b""


def _context() -> ssl.SSLContext:
    """Return a context that verifies as gRPC does; Python 3.13's default is stricter."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    return context


def _unverified() -> ssl.SSLContext:
    """Return a context for finding out the protocol; trust is checked elsewhere."""
    context = _context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
