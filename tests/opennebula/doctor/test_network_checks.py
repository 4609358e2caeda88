"""The way to the SuperLink, its certificate and its protocol: each way to fail is told apart."""

import errno
import socket
import ssl
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from oneflower.opennebula.doctor import checks_context, checks_network, checks_tls
from oneflower.tls import make_authority, make_server_certificate

NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=2000)
SETTINGS_FRAME = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


@contextmanager
def listening(talk):
    """Accept connections on 127.0.0.1 and talk to each; return ``host:port``."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        stop = threading.Event()

        def serve():
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                connection.settimeout(5)
                with connection:
                    talk(connection, stop)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stop.set()
            thread.join()


def speaker(tmp_path, pair, says=SETTINGS_FRAME):
    """Return what shakes hands with a certificate, and says something then."""
    (tmp_path / "pair.pem").write_bytes(pair[0] + pair[1])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    context.set_alpn_protocols(["h2"])

    def talk(connection, stop):
        try:
            with context.wrap_socket(connection, server_side=True) as secured:
                secured.recv(4096)
                secured.sendall(says)
        except OSError:
            return

    return talk


@pytest.fixture
def authority():
    return make_authority(NOW)


@pytest.fixture
def node_of(host_of, layout):
    """Return a SuperNode that calls an address and trusts an authority."""

    def make(address, authority=None, **context):
        layout.certs.mkdir(parents=True, exist_ok=True)
        if authority:
            layout.certificates.ca.write_bytes(authority.certificate_pem())
        host = host_of("supernode", FL_SUPERLINK_ADDRESS=address, **context)
        list(checks_context.settings(host))
        return host

    return make


@pytest.fixture
def shake(node_of, tmp_path, outcome):
    """Shake hands with a SuperLink that has a certificate, trusting an authority."""

    def run(pair, trusted):
        with listening(speaker(tmp_path, pair)) as address:
            return outcome(checks_tls.tls(node_of(address, trusted)))

    return run


def test_a_certificate_of_the_trusted_authority_is_ok(shake, authority):
    assert shake(make_server_certificate(authority, ("127.0.0.1",), NOW), authority)[0] == "ok"


def test_another_authority_is_reported(shake, authority):
    state, found, fix = shake(make_server_certificate(make_authority(NOW), ("127.0.0.1",), NOW), authority)
    assert (state, "was not issued by the CA" in found, "flower-report" in fix) == ("problem", True, True)


def test_an_expired_certificate_is_reported(shake, authority):
    state, found, fix = shake(make_server_certificate(authority, ("127.0.0.1",), LONG_AGO), authority)
    assert (state, "has expired" in found, "clocks" in fix) == ("problem", True, True)


def test_a_certificate_of_tomorrow_is_reported(shake, authority):
    pair = make_server_certificate(authority, ("127.0.0.1",), NOW + timedelta(days=2))
    state, found, fix = shake(pair, authority)
    assert (state, "not valid yet" in found, "clocks" in fix) == ("problem", True, True)


def test_a_certificate_for_another_name_is_reported(shake, authority):
    state, found, fix = shake(make_server_certificate(authority, ("10.0.0.9",), NOW), authority)
    assert (state, "not valid for that name" in found, "reboot the SuperLink" in fix) == (
        "problem",
        True,
        True,
    )


def test_a_server_without_tls_is_reported(node_of, authority, outcome):
    with listening(
        lambda connection, stop: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    ) as address:
        state, found, fix = outcome(checks_tls.tls(node_of(address, authority)))
    assert (state, "not with TLS" in found, "FL_TLS_ENABLED" in fix) == ("problem", True, True)


def test_a_server_that_says_nothing_is_reported(node_of, authority, outcome, monkeypatch):
    monkeypatch.setattr(checks_tls, "TIMEOUT_S", 0.2)
    with listening(lambda connection, stop: stop.wait(5)) as address:
        state, found, _ = outcome(checks_tls.tls(node_of(address, authority)))
    assert (state, "no TLS handshake" in found) == ("problem", True)


def test_a_server_that_hangs_up_is_reported(node_of, authority, outcome):
    with listening(lambda connection, stop: None) as address:
        assert outcome(checks_tls.tls(node_of(address, authority)))[0] == "problem"


def test_a_ca_that_is_damaged_is_reported(node_of, authority, layout, outcome):
    host = node_of("127.0.0.1:1", authority)
    layout.certificates.ca.write_text("nothing")
    state, found, _ = outcome(checks_tls.tls(host))
    assert (state, "is not readable" in found) == ("problem", True)


def test_no_ca_is_reported(node_of, outcome):
    state, found, _ = outcome(checks_tls.tls(node_of("127.0.0.1:1")))
    assert (state, "no CA" in found) == ("problem", True)


def test_what_needs_no_tls_is_skipped(node_of, host_of, outcome):
    assert outcome(checks_tls.tls(node_of("127.0.0.1:1", FL_TLS_ENABLED="NO")))[0] == "skipped"
    assert outcome(checks_tls.tls(host_of("supernode")))[0] == "skipped"


@pytest.mark.parametrize(
    ("says", "expected"), [(SETTINGS_FRAME, "ok"), (b"HTTP/1.1 400 Bad\r\n", "problem"), (b"", "problem")]
)
def test_only_http2_is_flower(node_of, tmp_path, authority, outcome, says, expected):
    pair = make_server_certificate(authority, ("127.0.0.1",), NOW)
    with listening(speaker(tmp_path, pair, says)) as address:
        assert outcome(checks_tls.fleet(node_of(address, authority)))[0] == expected


def test_http2_without_tls_is_seen(node_of, outcome):
    def talk(connection, stop):
        connection.recv(4096)
        connection.sendall(SETTINGS_FRAME)

    with listening(talk) as address:
        assert outcome(checks_tls.fleet(node_of(address, FL_TLS_ENABLED="NO")))[0] == "ok"


def test_an_open_port_has_a_route(node_of, outcome):
    with listening(lambda connection, stop: None) as address:
        assert outcome(checks_network.route(node_of(address)))[0] == "ok"


def test_a_closed_port_is_refused(node_of, outcome):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    host = node_of(f"127.0.0.1:{port}")
    state, found, fix = outcome(checks_network.route(host))
    assert (state, "refuses" in found, "doctor` on the SuperLink" in fix) == ("problem", True, True)
    assert outcome(checks_tls.fleet(host))[0] == "skipped"


def test_dropped_packets_are_a_firewall(node_of, outcome, monkeypatch):
    monkeypatch.setattr(checks_network, "CONNECT_S", 0.2)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)  # once it is full, what comes is dropped
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        state, found, fix = outcome(checks_network.route(node_of(f"127.0.0.1:{listener.getsockname()[1]}")))
        for each in waiting:
            each.close()
    assert (state, "no response" in found, "security group" in fix) == ("problem", True, True)


def test_no_route_is_reported(node_of, outcome, monkeypatch):
    def unreachable(*_, **__):
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    state, found, fix = outcome(checks_network.route(node_of("10.9.9.9:9092")))
    assert (state, "no route to 10.9.9.9" in found, "ETHx_ROUTES" in fix) == ("problem", True, True)


def test_an_address_that_nobody_has_said_is_skipped(host_of, outcome):
    host = host_of("supernode")
    assert [outcome(look(host))[0] for look in (checks_network.route, checks_tls.fleet)] == ["skipped"] * 2


def test_a_supernode_that_lost_onegate_knows_its_superlink_by_its_unit(host_of, layout):
    layout.units.mkdir(parents=True)
    unit = layout.units / "flower-supernode.service"
    unit.write_text('ExecStart="docker" "run" "--superlink" "10.77.0.2:9092" "--x"\n')
    assert checks_network.superlink_address(host_of("supernode")) == "10.77.0.2:9092"


def test_a_superlink_looks_at_itself_as_supernodes_call_it(host_of):
    assert checks_network.superlink_address(host_of(ETH0_IP="10.77.0.2")) == "10.77.0.2:9092"
    assert checks_network.superlink_address(host_of()) == "127.0.0.1:9092"


def test_addresses_need_no_names(node_of, outcome):
    assert outcome(checks_network.names(node_of("10.77.0.2:9092")))[0] == "ok"


def test_a_name_is_resolved(node_of, outcome, monkeypatch):
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda *_, **__: [(2, 1, 6, "", ("10.77.0.2", 0)), (2, 1, 6, "", ("10.77.0.2", 0))],
    )
    assert (
        outcome(checks_network.names(node_of("superlink.lan:9092")))[1]
        == "superlink.lan resolves to 10.77.0.2"
    )


@pytest.mark.parametrize(
    ("resolv", "expected"), [("", "no name server"), ("nameserver 10.0.0.53\n", "name servers 10.0.0.53")]
)
def test_a_name_that_does_not_resolve_is_reported(node_of, layout, outcome, monkeypatch, resolv, expected):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    (layout.root / "etc").mkdir(exist_ok=True)
    (layout.root / "etc/resolv.conf").write_text(resolv)
    state, found, fix = outcome(checks_network.names(node_of("superlink.lan:9092")))
    assert (state, expected in found, "DNS" in fix) == ("problem", True, True)
