"""A certificate authority for one cluster, and server certificates from it."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from oneflower.files import replace_file

AUTHORITY_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(days=825)
# Clocks of machines that have just booted differ.
SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """The certificate that SuperNodes trust, and the key that signs others with it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def certificate_pem(self) -> bytes:
        """Return what everybody may know."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self) -> bytes:
        """Return the secret: who has it can pass for the SuperLink."""
        return key_pem(self.key)

    @classmethod
    def from_pem(cls, certificate: bytes, key: bytes) -> Self:
        """Read an authority that was kept.

        Raises
        ------
        ValueError
            It is damaged, or is not one that ``make_authority`` made.
        """
        private = serialization.load_pem_private_key(key, password=None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise ValueError("the key is no elliptic-curve key")  # noqa: TRY004 - damaged content
        loaded = x509.load_pem_x509_certificate(certificate)
        # They are two files: a power cut between them leaves an old one beside a new one.
        if loaded.public_key() != private.public_key():
            raise ValueError("the key does not belong to the certificate")
        return cls(certificate=loaded, key=private)


def make_authority(now: datetime) -> Authority:
    """Make a new authority, valid from now on."""
    key = ec.generate_private_key(ec.SECP256R1())
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
    builder = _certificate(name, name, key.public_key(), (now - SKEW, now + AUTHORITY_LIFETIME))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    certificate = builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())
    return Authority(certificate=certificate, key=key)


def make_server_certificate(authority: Authority, hosts: Sequence[str], now: datetime) -> tuple[bytes, bytes]:
    """Return a new certificate and its key, both PEM, for the hosts (names or addresses)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "oneflower superlink")])
    issuer = authority.certificate.subject
    builder = _certificate(name, issuer, key.public_key(), (now - SKEW, now + SERVER_LIFETIME))
    alternatives = x509.SubjectAlternativeName([_alternative(host) for host in hosts])
    builder = builder.add_extension(alternatives, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    certificate = builder.add_extension(usage, critical=False).sign(authority.key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM), key_pem(key)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PEM, without a passphrase: nobody could type one at boot."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """PEM files: the authority that SuperNodes trust, and what the SuperLink shows and signs with."""

    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def of(cls, folder: Path) -> "Certificates":
        """Return where the three lie in a folder."""
        return cls(ca=folder / "ca.pem", certificate=folder / "superlink.pem", key=folder / "superlink.key")


def write_certificates(folder: Path, *, ca: bytes, certificate: bytes, key: bytes) -> Certificates:
    """Write three PEM files that only this user can read; OSError where that fails."""
    paths = Certificates.of(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path, content in ((paths.ca, ca), (paths.certificate, certificate), (paths.key, key)):
        write_private(path, content)
    return paths


def write_private(path: Path, content: bytes) -> None:
    """Replace a file by one of mode 0600; after a crash either the old or the new one is there."""
    replace_file(path, content, mode=0o600)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    valid: tuple[datetime, datetime],
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
    )


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
