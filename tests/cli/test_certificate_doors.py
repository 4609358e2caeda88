"""Certificates that cannot work are refused with the same error by every command, before anything starts."""

import base64
import ssl
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from oneflower.cli.main import main
from oneflower.opennebula.appliance.certificates import given_problems
from oneflower.opennebula.roles import Machine
from oneflower.settings import render_context
from oneflower.tls import make_authority, make_server_certificate, peer_problems
from oneflower.tls.authority import SERVER_LIFETIME, Authority, key_pem

NOW = datetime.now(UTC)
HOSTS = ("127.0.0.1", "localhost")
PYPROJECT = """
[project]
name = "tiny-app"
version = "1.0.0"
[tool.flwr.app]
publisher = "tests"
[tool.flwr.app.components]
serverapp = "tiny_app.server:app"
clientapp = "tiny_app.client:app"
"""


def nameless(authority):
    """Return a certificate with only a common name, the default of `openssl req`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(authority.certificate.subject)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(NOW - timedelta(days=1)).not_valid_after(NOW + timedelta(days=30))
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.PEM), key_pem(key)


def issued(root, begins):
    """Return an intermediate authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "between")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(root.certificate.subject)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(begins).not_valid_after(begins + timedelta(days=30))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return Authority(certificate=builder.sign(root.key, hashes.SHA256()), key=key)


def made(kind):
    if kind in {"expired between", "chain"}:
        root = make_authority(NOW)
        between = issued(root, NOW - timedelta(days=40 if kind == "expired between" else 1))
        certificate, key = make_server_certificate(between, HOSTS, NOW)
        return [root.certificate_pem(), certificate + between.certificate_pem(), key]
    old = NOW - SERVER_LIFETIME - timedelta(days=1)
    begins = {"expired": old, "early": NOW + timedelta(days=2)}.get(kind, NOW)
    authority = make_authority(old if kind == "expired" else NOW)
    hosts = ("link.example.org", "10.0.0.5") if kind == "wrong host" else HOSTS
    pair = nameless(authority) if kind == "no names" else make_server_certificate(authority, hosts, begins)
    issuer = make_authority(NOW) if kind == "other chain" else authority
    return [issuer.certificate_pem(), *pair]


EXPECTED = {
    "expired": "FL_SSL_CERTFILE expired at",
    "early": "FL_SSL_CERTFILE is not valid before",
    "expired between": "certificate 2 of FL_SSL_CERTFILE expired at",
    "no names": "FL_SSL_CERTFILE has no alternative names (subjectAltName)",
    "wrong host": "FL_SSL_CERTFILE is not valid for 127.0.0.1, where clients connect, but for 10.0.0.5, link",
    "other chain": "FL_SSL_CERTFILE was not issued by FL_SSL_CA_CERTFILE",
}


@pytest.fixture
def variables(request):
    texts = [base64.b64encode(pem).decode() for pem in made(request.param)]
    names = ("FL_SSL_CA_CERTFILE", "FL_SSL_CERTFILE", "FL_SSL_KEYFILE")
    return {**dict(zip(names, texts, strict=True)), "FL_TLS_ENABLED": "YES"}


@pytest.fixture
def oneflower(monkeypatch, capsys, tmp_path):
    (tmp_path / "app" / "tiny_app").mkdir(parents=True)
    (tmp_path / "app" / "pyproject.toml").write_text(PYPROJECT)
    for name in ("server", "client"):
        (tmp_path / "app" / "tiny_app" / f"{name}.py").write_text("app = None\n")

    def run(variables, *arguments):
        context = tmp_path / "context.sh"
        context.write_text(render_context(variables))
        monkeypatch.setattr("sys.argv", ["oneflower", *arguments, "--context", str(context)])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code, capsys.readouterr().err

    return run


@pytest.mark.parametrize(("variables", "kind"), [(kind, kind) for kind in EXPECTED], indirect=["variables"])
@pytest.mark.parametrize("door", ["config", "up", "supervise", "appliance"])
def test_every_door_refuses_with_the_same_text(oneflower, variables, kind, door, tmp_path):
    app = ("--app", str(tmp_path / "app"), "--state", str(tmp_path / "state"))
    doors = {"config": ("config", "check"), "up": ("up", *app), "supervise": ("supervise", *app)}
    if door == "appliance":
        text = "\n".join(given_problems(Machine.SUPERLINK, variables, NOW))
    else:
        code, text = oneflower(variables, *doors[door])
        assert code == 2
    assert EXPECTED[kind] in text
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("variables", ["good", "chain"], indirect=True)
def test_valid_certificates_pass(oneflower, variables):
    assert oneflower(variables, "config", "check")[0] == 0
    told = {**variables, "FL_SUPERLINK_ADDRESS": "10.0.0.9:9092"}
    assert "is not valid for 10.0.0.9" in oneflower(told, "config", "check")[1]
    assert given_problems(Machine.SUPERLINK, variables, NOW) == []


def test_the_ca_given_to_a_supervisor_is_checked(oneflower, tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_bytes(make_authority(NOW - timedelta(days=4000)).certificate_pem())
    app = ("--app", str(tmp_path / "app"), "--state", str(tmp_path / "state"))
    code, text = oneflower({}, "supervise", *app, "--root-certificates", str(ca))
    assert (code, "ca.pem expired at" in text) == (2, True)


def test_the_certificate_of_a_running_server_is_checked(tmp_path):
    import socket

    (tmp_path / "pair.pem").write_bytes(b"".join(made("wrong host")[1:]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection, context.wrap_socket(connection, server_side=True):
                pass

        thread = threading.Thread(target=serve)
        thread.start()
        (found,) = peer_problems(f"127.0.0.1:{server.getsockname()[1]}", NOW, timeout_s=30)
        thread.join()
    assert "the certificate of the SuperLink at 127.0.0.1" in found
    assert "is not valid for 127.0.0.1" in found


def test_a_wildcard_covers_one_label():
    authority = make_authority(NOW)
    certificate, key = make_server_certificate(authority, ("*.example.org", "10.0.0.5"), NOW)
    from oneflower.tls import certificate_problems

    def problems(host):
        return list(
            certificate_problems(
                NOW, ca=authority.certificate_pem(), certificate=certificate, key=key, hosts=[host]
            )
        )

    assert problems("link.example.org") == problems("10.0.0.5") == []
    assert problems("a.link.example.org")
    assert problems("example.org")
