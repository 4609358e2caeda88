"""Whether certificates fit each other, and whether they are still good."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

RENEW_BEFORE = timedelta(days=30)


def certificate_problems(
    now: datetime, *, ca: bytes, certificate: bytes | None = None, key: bytes | None = None
) -> Iterator[str]:
    """Yield what is wrong with a CA, or with a SuperLink's three PEM files: form, dates, pair, chain."""
    authority = _loaded(x509.load_pem_x509_certificate, ca)
    if authority is None:
        yield "FL_SSL_CA_CERTFILE holds no certificate that can be read: give it anew as base64 of PEM"
    else:
        yield from _dates("FL_SSL_CA_CERTFILE", authority, now)
    if certificate is None or key is None:
        return
    server = _loaded(_load_first, certificate)
    if server is None:
        yield "FL_SSL_CERTFILE holds no certificate that can be read: give it anew as base64 of PEM"
        return
    yield from _dates("FL_SSL_CERTFILE", server, now)
    if not _is_pair(server, key):
        yield "FL_SSL_KEYFILE is not the key of FL_SSL_CERTFILE: give the pair that belongs together"
    if authority is not None and not _is_chain([*x509.load_pem_x509_certificates(certificate)], authority):
        yield (
            "FL_SSL_CERTFILE was not issued by FL_SSL_CA_CERTFILE: give the CA that signed it, and append "
            "certificates between the two to FL_SSL_CERTFILE"
        )


def needs_renewal(certificate: bytes, key: bytes, ca: bytes, hosts: Iterable[str], now: datetime) -> bool:
    """Tell whether a kept certificate is damaged, foreign, about to expire, or lacks a host."""
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


def hosts_of(certificate: bytes) -> frozenset[str]:
    """Return the names and addresses that a certificate is for."""
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
        yield f"{name} expired at {ends:%Y-%m-%d %H:%M} UTC: give a certificate that is valid"
    elif now < begins:
        yield f"{name} is valid from {begins:%Y-%m-%d %H:%M} UTC on: check the clock, or give another"


def _is_pair(certificate: x509.Certificate, key: bytes) -> bool:
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError):
        return False
    return private.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)


def _is_chain(chain: list[x509.Certificate], authority: x509.Certificate) -> bool:
    """Whether each certificate was issued by the next, and the last by the authority (or is it)."""
    if chain[-1] != authority:
        chain = [*chain, authority]
    try:
        for issued, issuer in pairwise(chain):
            issued.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
