"""Discovery is a hint: what a SuperNode trusted first decides whom it connects to."""

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta

import pytest

from oneflower.opennebula.appliance import bootstrap as bootstrapping
from oneflower.opennebula.appliance import join as joining
from oneflower.opennebula.appliance.bootstrap import bootstrap, superlink_values
from oneflower.opennebula.appliance.configure import configure
from oneflower.opennebula.appliance.report import look
from oneflower.opennebula.appliance.trust import trusted_ca
from oneflower.opennebula.onegate.encoding import decode, encode
from oneflower.tls import make_authority, make_server_certificate, sign_successor

NODE = "flower-supernode.service"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(bootstrapping, "superlink_answers", lambda settings, ca: True)
    for name in ("CA_TIMEOUT_S", "DISCOVERY_TIMEOUT_S", "PARTITION_TIMEOUT_S"):
        monkeypatch.setattr(joining, name, 0.0)


@pytest.fixture
def authority():
    return make_authority(datetime.now(UTC))


@pytest.fixture
def publish(client_of):
    def write(authority=None, address="127.0.0.1:9092", *more):
        pem = b"".join([authority.certificate_pem(), *more]).decode() if authority else None
        client_of(11).publish({})  # any VM of the service may write this:
        client_of(10).publish({"FL_ENDPOINT": address, **({"FL_CA_CERT": pem} if pem else {})})

    return write


@pytest.fixture
def node(stage_of, publish, authority, commands):
    """A SuperNode that has joined the SuperLink of `authority`."""
    publish(authority)
    configure(stage_of("supernode", vm=12))
    bootstrap(stage_of("supernode", vm=12))
    commands.restarted()
    return lambda **context: look(stage_of("supernode", vm=12, **context))


@pytest.fixture
def listening(tmp_path):
    """Return a function that serves TLS on a free port with a certificate of an authority."""
    opened = []

    def serve(authority):
        certificate, key = make_server_certificate(authority, ["127.0.0.1"], datetime.now(UTC))
        path = tmp_path / "server.pem"
        path.write_bytes(certificate + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        context.set_alpn_protocols(["h2"])
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(20)
        opened.append(listener)

        def accept():
            try:
                while True:
                    connection, _ = listener.accept()
                    connection.settimeout(20)
                    try:
                        context.wrap_socket(connection, server_side=True).close()
                    except OSError:
                        connection.close()
            except OSError:
                return

        threading.Thread(target=accept, daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield serve
    for listener in opened:
        listener.close()


def unit(layout):
    return (layout.units / NODE).read_text()


def test_a_peer_that_overwrites_address_and_ca_moves_nobody(node, publish, layout, commands, authority):
    """Before, the SuperNode followed to the other address with the other CA within 30 s."""
    evil = make_authority(datetime.now(UTC))
    publish(evil, "127.0.0.1:6666")
    shown = node()
    assert commands.restarted() == []
    assert "127.0.0.1:9092" in unit(layout)
    assert layout.certificates.ca.read_bytes() == authority.certificate_pem()
    assert "not signed" in shown["FL_ERROR"]
    assert str(layout.trusted_ca) in shown["FL_ERROR"]


def test_the_alarm_ends_with_its_cause(node, publish, authority):
    publish(make_authority(datetime.now(UTC)))
    assert "FL_ERROR" in node()
    publish(authority)
    assert "FL_ERROR" not in node()


def test_an_address_without_the_trusted_certificate_is_not_followed(
    node, publish, layout, authority, listening, commands
):
    """The CA is public: whoever redirects a SuperNode shows the right one."""
    publish(authority, listening(make_authority(datetime.now(UTC))))
    node()
    assert commands.restarted() == []
    publish(authority, "127.0.0.1:1")
    node()
    assert "127.0.0.1:9092" in unit(layout)


def test_a_superlink_that_moves_with_its_authority_is_followed(
    node, publish, layout, authority, listening, commands
):
    address = listening(authority)
    publish(authority, address)
    shown = node()
    assert commands.restarted() == [NODE]
    assert address in unit(layout)
    assert "FL_ERROR" not in shown


def test_a_reboot_does_not_forget_whom_it_trusts(node, publish, stage_of, layout, authority):
    publish(make_authority(datetime.now(UTC)), "127.0.0.1:6666")
    configure(stage_of("supernode", vm=12))
    bootstrap(stage_of("supernode", vm=12))
    assert "127.0.0.1:9092" in unit(layout)
    assert layout.certificates.ca.read_bytes() == authority.certificate_pem()


def test_an_authority_that_the_old_one_signed_is_followed_alone(node, publish, layout, commands, authority):
    new, evil = make_authority(datetime.now(UTC)), make_authority(datetime.now(UTC))
    publish(new, "127.0.0.1:9092", sign_successor(authority, new), evil.certificate_pem())
    assert "FL_ERROR" not in node()
    assert commands.restarted() == [NODE]
    assert layout.certificates.ca.read_bytes() == new.certificate_pem()
    publish(authority)
    assert "not signed" in node()["FL_ERROR"]


@pytest.mark.parametrize("others", ["evil first", "signed by another", "a signature of another key"])
def test_a_bundle_that_does_not_name_the_new_authority_is_refused(layout, authority, others):
    layout.make(checkpoints=False)
    layout.write(layout.trusted_ca, authority.certificate_pem().decode())
    now = datetime.now(UTC)
    new, evil = make_authority(now), make_authority(now)
    bundle = {
        "evil first": evil.certificate_pem() + authority.certificate_pem() + sign_successor(authority, new),
        "signed by another": new.certificate_pem() + sign_successor(evil, new),
        "a signature of another key": evil.certificate_pem() + sign_successor(authority, new),
    }[others]
    found = trusted_ca(layout, bundle.decode())
    assert found.ca == authority.certificate_pem()
    assert found.alarm


def test_removing_the_pin_mends_it(node, publish, layout, commands):
    new = make_authority(datetime.now(UTC))
    publish(new)
    node()
    layout.trusted_ca.unlink()
    assert "FL_ERROR" not in node()
    assert layout.certificates.ca.read_bytes() == new.certificate_pem()


def test_a_superlink_that_renews_its_authority_signs_the_new_one(stage_of, layout):
    """Its SuperNodes follow without an operator."""
    began = datetime.now(UTC)
    stage = stage_of("superlink", now=began, ETH0_IP="10.77.0.2")
    configure(stage)
    old = layout.certificates.ca.read_bytes()
    assert superlink_values(stage, stage.settings().settings)["FL_CA_CERT"].count("BEGIN") == 1
    later = stage_of("superlink", now=began + timedelta(days=3640), ETH0_IP="10.77.0.2")
    configure(later)
    published = superlink_values(later, later.settings().settings)["FL_CA_CERT"]
    assert layout.certificates.ca.read_bytes() != old
    layout.write(layout.trusted_ca, old.decode())
    carried = decode("FL_CA_CERT", encode("FL_CA_CERT", published))
    assert trusted_ca(layout, carried).ca == layout.certificates.ca.read_bytes()


def test_what_the_operator_gave_is_not_asked_of_onegate(node, publish, layout, authority):
    import base64

    given = base64.b64encode(authority.certificate_pem()).decode()
    publish(make_authority(datetime.now(UTC)), "127.0.0.1:6666")
    shown = node(FL_SUPERLINK_ADDRESS="127.0.0.1:9092", FL_SSL_CA_CERTFILE=given)
    assert "FL_ERROR" not in shown
    assert "127.0.0.1:9092" in unit(layout)
    assert "not signed" in node(FL_SUPERLINK_ADDRESS="127.0.0.1:9092")["FL_ERROR"]
    assert layout.certificates.ca.read_bytes() == authority.certificate_pem()
