"""Certificates: an authority of one's own, server certificates from it, and checks of given ones."""

from oneflower.tls.authority import Authority, make_authority, make_server_certificate
from oneflower.tls.checks import certificate_problems, given_problems, needs_renewal, peer_problems
from oneflower.tls.files import Certificates, write_certificates, write_private

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
