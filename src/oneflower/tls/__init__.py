"""TLS: create a certificate authority and server certificates, and check certificates."""

from oneflower.tls.authority import (
    Authority,
    Certificates,
    make_authority,
    make_server_certificate,
    write_certificates,
    write_private,
)
from oneflower.tls.checks import certificate_problems, given_problems, needs_renewal, peer_problems

__all__ = [
    "Authority",
    "Certificates",
    "certificate_problems",
    "given_problems",
    "make_authority",
    "make_server_certificate",
    "needs_renewal",
    "peer_problems",
    "write_certificates",
    "write_private",
]
