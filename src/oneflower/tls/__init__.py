"""Certificates: an authority of one's own, server certificates from it, and checks of given ones."""

from oneflower.tls.authority import Authority, make_authority, make_server_certificate
from oneflower.tls.checks import certificate_problems, needs_renewal
from oneflower.tls.files import Certificates, write_certificates, write_private

__all__ = [
    "Authority",
    "Certificates",
    "certificate_problems",
    "make_authority",
    "make_server_certificate",
    "needs_renewal",
    "write_certificates",
    "write_private",
]
