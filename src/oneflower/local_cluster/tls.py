"""The certificates of a local cluster, in its state folder."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from oneflower.errors import SettingsError
from oneflower.files import state_errors
from oneflower.settings import Settings
from oneflower.tls import (
    Certificates,
    given_problems,
    make_authority,
    make_server_certificate,
    write_certificates,
)

__all__ = ["Certificates", "check_certificates", "decode_certificates", "make_certificates"]


def make_certificates(folder: Path, hosts: Sequence[str]) -> Certificates:
    """Create an authority and a server certificate for the hosts (names or addresses).

    The authority's key is never written, so nobody can sign another certificate with it.

    Raises
    ------
    StateError
        The folder cannot be written.
    """
    now = datetime.now(UTC)
    authority = make_authority(now)
    certificate, key = make_server_certificate(authority, hosts, now)
    with state_errors(folder):
        return write_certificates(folder, ca=authority.certificate_pem(), certificate=certificate, key=key)


def check_certificates(settings: Settings, hosts: Sequence[str]) -> None:
    """Raise SettingsError if the operator's certificates cannot work: dates, chain, pair, names."""
    ca, certificate, key = settings.ssl_ca_certfile, settings.ssl_certfile, settings.ssl_keyfile
    problems = given_problems(datetime.now(UTC), ca=ca, certificate=certificate, key=key, hosts=hosts)
    if problems:
        raise SettingsError("\n".join(problems))


def decode_certificates(folder: Path, *, ca: str, certificate: str, key: str) -> Certificates:
    """Write the operator's certificates, given as base64 of PEM, as PEM files for Flower."""
    pems = [base64.b64decode(text) for text in (ca, certificate, key)]
    with state_errors(folder):
        return write_certificates(folder, ca=pems[0], certificate=pems[1], key=pems[2])
