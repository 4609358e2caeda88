"""A cluster's certificates are valid for its hosts only, and only their owner can read them."""

import base64
import socket
import ssl
import threading

import pytest

from oneflower.local_cluster.tls import decode_certificates, make_certificates


@pytest.fixture
def certificates(tmp_path):
    return make_certificates(tmp_path / "tls", ["127.0.0.1", "localhost"])


def handshake(certificates, host):
    """Shake hands over a pair of sockets, as a client that trusts the authority and expects ``host``."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificates.certificate, certificates.key)
    near, far = socket.socketpair()

    def serve():
        try:
            server.wrap_socket(far, server_side=True).close()
        except (ssl.SSLError, OSError):
            far.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client = ssl.create_default_context(cafile=str(certificates.ca))
        with client.wrap_socket(near, server_hostname=host) as connection:
            return connection.version()
    finally:
        near.close()
        thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_client_that_trusts_the_authority_connects(certificates, host):
    assert handshake(certificates, host) == "TLSv1.3"


def test_another_host_is_refused(certificates):
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(certificates, "10.0.0.1")


def test_another_cluster_is_not_trusted(certificates, tmp_path):
    other = make_certificates(tmp_path / "other", ["127.0.0.1"])
    mixed = type(certificates)(ca=other.ca, certificate=certificates.certificate, key=certificates.key)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(mixed, "127.0.0.1")


def test_only_the_owner_can_read_them(certificates):
    assert certificates.key.stat().st_mode & 0o777 == 0o600
    assert certificates.key.parent.stat().st_mode & 0o777 == 0o700


def test_the_key_of_the_authority_is_never_written(certificates):
    keys = [path for path in certificates.ca.parent.iterdir() if b"PRIVATE KEY" in path.read_bytes()]
    assert keys == [certificates.key]


def test_certificates_of_the_operator_are_used_unchanged(certificates, tmp_path):
    texts = {
        name: base64.b64encode(getattr(certificates, name).read_bytes()).decode()
        for name in ("ca", "certificate", "key")
    }
    assert handshake(decode_certificates(tmp_path / "own", **texts), "127.0.0.1") == "TLSv1.3"
