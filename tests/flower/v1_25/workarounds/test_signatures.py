"""A signature that is kept for some seconds is as good as a fresh one, and no other is."""

from datetime import UTC, datetime, timedelta

import pytest
from flwr.client.grpc_rere_client import node_auth_client_interceptor as signing
from flwr.server.superlink.fleet.grpc_rere import node_auth_server_interceptor as verifying
from flwr.supercore.primitives.asymmetric import generate_key_pairs, public_key_to_bytes

from oneflower.flower.v1_25.workarounds import signatures
from oneflower.flower.v1_25.workarounds.signatures import KEPT_S, Signed

START = datetime(2026, 1, 2, tzinfo=UTC)


class Details:
    """What a client's interceptor gets and passes on."""

    metadata = ()

    def _replace(self, metadata):
        self.metadata = metadata
        return self


def headers(interceptor):
    return dict(interceptor.intercept_unary_unary(lambda details, _: details.metadata, Details(), None))


@pytest.fixture
def interceptor():
    return signing.NodeAuthClientInterceptor(*generate_key_pairs())


@pytest.fixture
def counted(monkeypatch):
    """Count what is really signed and verified."""
    counts = {"sign_message": 0, "verify_signature": 0}
    for module, name in ((signing, "sign_message"), (verifying, "verify_signature")):
        original = getattr(module, name)

        def counting(*args, original=original, name=name):
            counts[name] += 1
            return original(*args)

        monkeypatch.setattr(module, name, counting)
    return counts


def test_calls_of_some_seconds_are_signed_once(interceptor, counted, apply):
    apply(signatures.SUPERNODE)
    assert headers(interceptor) == headers(interceptor)
    assert counted["sign_message"] == 1


def test_flower_signs_each_call(interceptor, counted):
    assert headers(interceptor) != headers(interceptor)
    assert counted["sign_message"] == 2


def test_two_keys_do_not_share_a_signature(interceptor, apply):
    apply(signatures.SUPERNODE)
    other = signing.NodeAuthClientInterceptor(*generate_key_pairs())
    mine, theirs, again = headers(interceptor), headers(other), headers(interceptor)
    assert mine["flwr-signature-bin"] != theirs["flwr-signature-bin"]
    public = verifying.bytes_to_public_key(again["flwr-public-key-bin"])
    stamp = again["flwr-timestamp"].encode()
    assert verifying.verify_signature(public, stamp, again["flwr-signature-bin"])


def test_the_time_is_a_fresh_one_after_some_seconds():
    seconds = [0.0]
    signed = Signed(lambda: START + timedelta(seconds=seconds[0]), lambda: seconds[0])
    assert signed.time() == START
    seconds[0] = KEPT_S - 0.1
    assert signed.time() == START
    seconds[0] = KEPT_S
    assert signed.time() == START + timedelta(seconds=KEPT_S)


def verified(key, message, signature):
    public = verifying.bytes_to_public_key(key)
    return verifying.verify_signature(public, message, signature)


def test_a_signature_is_verified_once_and_no_other_passes_for_it(counted, apply):
    apply(signatures.SUPERLINK)
    private, public = generate_key_pairs()
    key, message = public_key_to_bytes(public), b"2026-01-02T00:00:00+00:00"
    signature = signing.sign_message(private, message)
    assert all(verified(key, message, signature) for _ in range(3))
    assert counted["verify_signature"] == 1
    wrong = signature[:-1] + bytes([signature[-1] ^ 1])
    assert not verified(key, message, wrong)
    assert not verified(key, b"2026-01-02T00:00:01+00:00", signature)
    other = public_key_to_bytes(generate_key_pairs()[1])
    assert not verified(other, message, signature)
    assert verified(key, message, signature)


def test_a_wrong_signature_is_not_remembered(counted, apply):
    apply(signatures.SUPERLINK)
    key = public_key_to_bytes(generate_key_pairs()[1])
    for _ in range(2):
        assert not verified(key, b"time", b"rubbish")
    assert counted["verify_signature"] == 2
