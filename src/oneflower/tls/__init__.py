"""TLS: create a certificate authority and server certificates, and check certificates."""

from oneflower.tls.authority import (
    Authority,
    Certificates,
    make_authority,
    make_server_certificate,
    sign_successor,
    write_certificates,
    write_private,
)
from oneflower.tls.checks import certificate_problems, given_problems, needs_renewal, peer_problems
from oneflower.tls.node_key import ensure_node_key, make_node_key, read_node_key

__all__ = [
    "Authority",
    "Certificates",
    "certificate_problems",
    "ensure_node_key",
    "given_problems",
    "make_authority",
    "make_node_key",
    "make_server_certificate",
    "needs_renewal",
    "peer_problems",
    "read_node_key",
    "sign_successor",
    "write_certificates",
    "write_private",
]
