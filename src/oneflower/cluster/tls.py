"""A certificate authority for one cluster, and a server certificate from it."""

import base64
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from oneflower.cluster.files import state_errors

LIFETIME = timedelta(days=825)
# Clocks of machines that have just booted differ.
SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """PEM files: the authority that SuperNodes trust, and what the SuperLink shows and signs with."""

    ca: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path, hosts: Sequence[str]) -> Certificates:
    """Make an authority and a server certificate for the hosts (names or addresses).

    The authority's own key is never written: nobody can sign a second certificate with it.

    Raises
    ------
    StateError
        The folder cannot be written.
    """
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _authority(authority_key)
    server_key = ec.generate_private_key(ec.SECP256R1())
    server = _server(server_key, authority, authority_key, hosts)
    return write_certificates(
        folder,
        ca=authority.public_bytes(serialization.Encoding.PEM),
        certificate=server.public_bytes(serialization.Encoding.PEM),
        key=server_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def decode_certificates(folder: Path, *, ca: str, certificate: str, key: str) -> Certificates:
    """Write the operator's own certificates, given as base64 of PEM, where Flower can read them."""
    return write_certificates(
        folder,
        ca=base64.b64decode(ca),
        certificate=base64.b64decode(certificate),
        key=base64.b64decode(key),
    )


def write_certificates(folder: Path, *, ca: bytes, certificate: bytes, key: bytes) -> Certificates:
    """Write three PEM files that only this user can read."""
    paths = Certificates(
        ca=folder / "ca.pem", certificate=folder / "superlink.pem", key=folder / "superlink.key"
    )
    with state_errors(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path, content in ((paths.ca, ca), (paths.certificate, certificate), (paths.key, key)):
            path.unlink(missing_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
    return paths


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "oneflower cluster authority")])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    builder = _certificate(name, name, key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())


def _server(
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    hosts: Sequence[str],
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "oneflower superlink")])
    builder = _certificate(name, authority.subject, key.public_key())
    alternatives = x509.SubjectAlternativeName([_alternative(host) for host in hosts])
    builder = builder.add_extension(alternatives, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return builder.add_extension(usage, critical=False).sign(authority_key, hashes.SHA256())


def _certificate(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + LIFETIME)
    )


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
