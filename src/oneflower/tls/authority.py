"""Create a certificate authority for one cluster, issue server certificates, and write PEM files."""

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
# The clocks of machines that have just booted may differ.
SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """The CA certificate that SuperNodes trust, and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def certificate_pem(self) -> bytes:
        """Return the certificate as PEM; it is public."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self) -> bytes:
        """Return the private key as PEM: whoever has it can impersonate the SuperLink."""
        return key_pem(self.key)

    @classmethod
    def from_pem(cls, certificate: bytes, key: bytes) -> Self:
        """Read an authority from its PEM files.

        Raises
        ------
        ValueError
            It is damaged, or ``make_authority`` did not create it.
        """
        private = serialization.load_pem_private_key(key, password=None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise ValueError("the key is not an elliptic-curve key")  # noqa: TRY004 - damaged content
        loaded = x509.load_pem_x509_certificate(certificate)
        # They are two files: after a power cut one may be old and the other new.
        if loaded.public_key() != private.public_key():
            raise ValueError("the key does not belong to the certificate")
        return cls(certificate=loaded, key=private)


def make_authority(now: datetime) -> Authority:
    """Create an authority that is valid from now on."""
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


def sign_successor(old: Authority, new: Authority) -> bytes:
    """Return a certificate of the new authority by the old one, as PEM."""
    certificate = new.certificate
    builder = _certificate(
        certificate.subject,
        old.certificate.subject,
        new.key.public_key(),
        (certificate.not_valid_before_utc, certificate.not_valid_after_utc),
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.sign(old.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def make_server_certificate(authority: Authority, hosts: Sequence[str], now: datetime) -> tuple[bytes, bytes]:
    """Return a certificate for the hosts (names or addresses) and its key, both as PEM."""
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
    """Return a private key as PEM without a passphrase, which nobody could enter at boot."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """The paths of PEM files: the CA certificate, the SuperLink's certificate and its key."""

    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def of(cls, folder: Path) -> "Certificates":
        """Return the paths in a folder."""
        return cls(ca=folder / "ca.pem", certificate=folder / "superlink.pem", key=folder / "superlink.key")


def write_certificates(folder: Path, *, ca: bytes, certificate: bytes, key: bytes) -> Certificates:
    """Write three PEM files that only this user can read; OSError if that fails."""
    paths = Certificates.of(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path, content in ((paths.ca, ca), (paths.certificate, certificate), (paths.key, key)):
        write_private(path, content)
    return paths


def write_private(path: Path, content: bytes) -> None:
    """Replace a file by one with mode 0600; a crash leaves either the old or the new file."""
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
