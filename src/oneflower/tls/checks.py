"""Check that certificates match each other, are valid now, and cover the hosts."""

import base64
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

RENEW_BEFORE = timedelta(days=30)


def given_problems(
    now: datetime, *, ca: str, certificate: str = "", key: str = "", hosts: Sequence[str] = ()
) -> list[str]:
    """Return the problems of the operator's certificates, each base64 of PEM as in the settings.

    `config check`, `up`, `supervise` and the appliance all use this check. ``hosts`` are the names and
    addresses at which clients reach the SuperLink.
    """
    pems = [base64.b64decode("".join(text.split())) if text else None for text in (ca, certificate, key)]
    if pems[0] is None:
        return []
    return list(certificate_problems(now, ca=pems[0], certificate=pems[1], key=pems[2], hosts=hosts))


def certificate_problems(  # noqa: PLR0913 - three PEM files and what to check them against
    now: datetime,
    *,
    ca: bytes,
    certificate: bytes | None = None,
    key: bytes | None = None,
    hosts: Sequence[str] = (),
    ca_name: str = "FL_SSL_CA_CERTFILE",
) -> Iterator[str]:
    """Yield the problems of a CA, or of a SuperLink's three PEM files.

    Checks encoding, dates, key, chain, and that the certificate is valid for all ``hosts``.
    """
    authority = _loaded(x509.load_pem_x509_certificate, ca)
    if authority is None:
        yield f"{ca_name} contains no readable certificate: expected base64 of PEM; encode it again"
    else:
        yield from _dates(ca_name, authority, now)
    if certificate is None or key is None:
        return
    server = _loaded(_load_first, certificate)
    if server is None:
        yield "FL_SSL_CERTFILE contains no readable certificate: expected base64 of PEM; encode it again"
        return
    yield from _dates("FL_SSL_CERTFILE", server, now)
    chain = x509.load_pem_x509_certificates(certificate)
    for place, between in enumerate(chain[1:], start=2):
        if between != authority:  # checked above
            yield from _dates(f"certificate {place} of FL_SSL_CERTFILE", between, now)
    if not _is_pair(server, key):
        yield "FL_SSL_KEYFILE is not the key of FL_SSL_CERTFILE: set a certificate and its own key"
    if authority is not None and not _is_chain(chain, authority):
        yield (
            "FL_SSL_CERTFILE was not issued by FL_SSL_CA_CERTFILE: set the CA that issued it, and append "
            "intermediate certificates to FL_SSL_CERTFILE"
        )
    yield from _names("FL_SSL_CERTFILE", hosts_of(certificate), hosts)


def peer_problems(address: str, now: datetime, *, timeout_s: float = 2.0) -> list[str]:
    """Return why a client may refuse the certificate of a server (``host:port``).

    Checks dates and names; the TLS handshake checks the CA.
    """
    host, _, port = address.rpartition(":")
    try:
        shown = ssl.get_server_certificate((host.strip("[]"), int(port)), timeout=timeout_s).encode()
        server = _load_first(shown)
    except (OSError, ValueError):
        return []
    name = f"the certificate of the SuperLink at {address}"
    return [*_dates(name, server, now), *_names(name, hosts_of(shown), [host.strip("[]")])]


def needs_renewal(certificate: bytes, key: bytes, ca: bytes, hosts: Iterable[str], now: datetime) -> bool:
    """Return whether a certificate is damaged, from another CA, about to expire, or lacks a host."""
    try:
        server = x509.load_pem_x509_certificate(certificate)
        authority = x509.load_pem_x509_certificate(ca)
    except ValueError:
        return True
    expires = min(server.not_valid_after_utc, authority.not_valid_after_utc)
    return (
        not set(hosts) <= hosts_of(certificate)
        or expires - now < RENEW_BEFORE
        or not _is_pair(server, key)
        or not _is_chain([server], authority)
    )


def vouches(kept: bytes, published: bytes) -> bool:
    """Whether an authority has signed the one that takes its place.

    `published` holds the new authority, which signs itself, and a certificate of its key by the old one.
    """
    try:
        old = _load_first(kept)
        new, *others = x509.load_pem_x509_certificates(published)
    except (ValueError, IndexError):
        return False
    return any(_is_same_key(other, new) and _is_issued(other, old) for other in others)


def hosts_of(certificate: bytes) -> frozenset[str]:
    """Return the names and addresses that a certificate is valid for."""
    extensions = _load_first(certificate).extensions
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(str(name.value) for name in names)


def _loaded(load: Callable[[bytes], x509.Certificate], pem: bytes) -> x509.Certificate | None:
    try:
        return load(pem)
    except ValueError:
        return None


def _load_first(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificates(pem)[0]


def _dates(name: str, certificate: x509.Certificate, now: datetime) -> Iterator[str]:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > ends:
        yield f"{name} expired at {ends:%Y-%m-%d %H:%M} UTC: set a valid certificate"
    elif now < begins:
        yield f"{name} is not valid before {begins:%Y-%m-%d %H:%M} UTC: check the clock, or set another one"


def _names(name: str, covered: frozenset[str], hosts: Sequence[str]) -> Iterator[str]:
    if hosts and not covered:
        yield (
            f"{name} has no alternative names (subjectAltName), which clients require: set a certificate for "
            f"{', '.join(hosts)}"
        )
        return
    missing = [host for host in hosts if not any(_covers(each, host) for each in covered)]
    if missing:
        yield (
            f"{name} is not valid for {', '.join(missing)}, where clients connect, but for "
            f"{', '.join(sorted(covered))}: set a certificate with the missing alternative names"
        )


def _covers(name: str, host: str) -> bool:
    """Whether a certificate's name is the host, or has a wildcard for its first label (RFC 6125)."""
    name, host = name.lower(), host.strip("[]").lower()
    if name == host:
        return True
    label, _, rest = host.partition(".")
    return bool(label and rest) and name == f"*.{rest}" and not rest.replace(".", "").isdigit()


def _is_pair(certificate: x509.Certificate, key: bytes) -> bool:
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError):
        return False
    return private.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)


def _is_same_key(one: x509.Certificate, other: x509.Certificate) -> bool:
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return one.public_key().public_bytes(*form) == other.public_key().public_bytes(*form)


def _is_issued(issued: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        issued.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_chain(chain: list[x509.Certificate], authority: x509.Certificate) -> bool:
    """Whether each certificate was issued by the next one, and the last is or was issued by the authority."""
    if chain[-1] != authority:
        chain = [*chain, authority]
    return all(_is_issued(issued, issuer) for issued, issuer in pairwise(chain))
