"""Certificates: an authority of one's own, server certificates from it, and checks of given ones."""

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
