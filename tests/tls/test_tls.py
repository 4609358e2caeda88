"""Created certificates are valid; the operator's own are checked before anything starts."""

from datetime import UTC, datetime, timedelta

import pytest

from oneflower.tls import (
    Authority,
    certificate_problems,
    make_authority,
    make_server_certificate,
    needs_renewal,
    write_certificates,
    write_private,
)
from oneflower.tls.authority import AUTHORITY_LIFETIME, SERVER_LIFETIME

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
HOSTS = ("localhost", "127.0.0.1", "10.77.0.2", "superlink-1")


@pytest.fixture
def authority():
    return make_authority(NOW)


@pytest.fixture
def pair(authority):
    return make_server_certificate(authority, HOSTS, NOW)


def problems(ca, certificate=None, key=None, now=NOW):
    return list(certificate_problems(now, ca=ca, certificate=certificate, key=key))


def test_created_certificates_pass_the_checks(authority, pair):
    assert problems(authority.certificate_pem(), *pair) == []
    assert problems(authority.certificate_pem()) == []


def test_an_authority_read_from_its_files_can_sign(authority):
    kept = Authority.from_pem(authority.certificate_pem(), authority.key_pem())
    assert problems(authority.certificate_pem(), *make_server_certificate(kept, HOSTS, NOW)) == []


def test_every_mistake_is_named_with_its_variable(authority, pair):
    other = make_authority(NOW)
    _, other_key = make_server_certificate(other, HOSTS, NOW)
    found = problems(other.certificate_pem(), pair[0], other_key)
    assert [text.partition(" ")[0] for text in found] == ["FL_SSL_KEYFILE", "FL_SSL_CERTFILE"]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (NOW + SERVER_LIFETIME + timedelta(days=1), "FL_SSL_CERTFILE expired"),
        (NOW + AUTHORITY_LIFETIME + timedelta(days=1), "FL_SSL_CA_CERTFILE expired"),
        (NOW - timedelta(days=1), "FL_SSL_CA_CERTFILE is not valid before"),
    ],
)
def test_a_certificate_that_is_not_valid_now_is_refused(authority, pair, now, expected):
    assert any(text.startswith(expected) for text in problems(authority.certificate_pem(), *pair, now=now))


def test_damaged_files_are_reported_without_an_exception(authority, pair):
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert len(problems(broken)) == 1
    assert len(problems(authority.certificate_pem(), broken, pair[1])) == 1
    assert len(problems(authority.certificate_pem(), pair[0], b"no key")) == 1


def test_a_chain_through_an_intermediate_is_valid(authority, pair):
    assert problems(authority.certificate_pem(), pair[0] + authority.certificate_pem(), pair[1]) == []


def test_a_certificate_is_renewed_when_needed(authority, pair):
    ca = authority.certificate_pem()
    assert not needs_renewal(*pair, ca, HOSTS, NOW)
    assert not needs_renewal(*pair, ca, HOSTS[:1], NOW)
    assert needs_renewal(*pair, ca, [*HOSTS, "10.77.0.9"], NOW)
    assert needs_renewal(*pair, ca, HOSTS, NOW + SERVER_LIFETIME - timedelta(days=29))
    assert needs_renewal(pair[0], b"", ca, HOSTS, NOW)
    assert needs_renewal(b"", pair[1], ca, HOSTS, NOW)
    assert needs_renewal(*pair, make_authority(NOW).certificate_pem(), HOSTS, NOW)


def test_files_are_readable_by_one_user_and_replaced_atomically(tmp_path):
    paths = write_certificates(tmp_path / "tls", ca=b"a", certificate=b"b", key=b"c")
    write_private(paths.key, b"d")
    assert paths.key.read_bytes() == b"d"
    assert {path.stat().st_mode & 0o777 for path in (paths.ca, paths.certificate, paths.key)} == {0o600}
    assert len(list((tmp_path / "tls").iterdir())) == 3
