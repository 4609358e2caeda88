"""A public key has one form; everything else is refused, whoever wrote it."""

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, public_key_to_bytes, uses_nist_ec_curve
from hypothesis import given
from hypothesis import strategies as st

from oneflower.errors import SettingsError
from oneflower.node_keys import NodeKey, Pins, fingerprint_of, keys_of_pem
from oneflower.settings import resolve
from oneflower.tls import ensure_node_key, make_node_key, read_node_key

DER = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
CURVES = [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()]


def der(private):
    return private.public_key().public_bytes(*DER)


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
def test_a_key_is_written_as_flower_writes_it(curve):
    private = ec.generate_private_key(curve)
    key = NodeKey(der(private))
    assert key.pem == public_key_to_bytes(private.public_key())
    assert uses_nist_ec_curve(bytes_to_public_key(key.pem))
    assert NodeKey.from_word(key.word) == key
    assert fingerprint_of(key.pem) == key.fingerprint


@pytest.mark.parametrize(
    "private",
    [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256K1())],
    ids=["ed", "k1"],
)
def test_a_key_that_flower_does_not_take_is_refused(private):
    with pytest.raises(ValueError, match="P-256, P-384 or P-521"):
        NodeKey(der(private))


@given(st.one_of(st.text(), st.binary(), st.integers(), st.none(), st.lists(st.text())))
def test_no_other_text_is_a_key(word):
    with pytest.raises(ValueError, match="it is not"):
        NodeKey.from_word(word)


@pytest.mark.parametrize("change", ["{}=", "{}\n", " {}", "{}A", "-{}"])
def test_a_key_has_one_word(change):
    with pytest.raises(ValueError, match="it is not"):
        NodeKey.from_word(change.format(make_node_key()[1].word))


def test_standard_base64_is_not_the_word():
    keys = (make_node_key()[1] for _ in range(50))
    key = next(key for key in keys if {"-", "_"} & {*key.word})
    with pytest.raises(ValueError, match="it is not"):
        NodeKey.from_word(base64.b64encode(key.der).decode())


class TestFile:
    def test_a_key_is_made_once(self, tmp_path):
        path = tmp_path / "node.key"
        key, is_new = ensure_node_key(path)
        assert is_new
        assert path.stat().st_mode & 0o777 == 0o600
        assert ensure_node_key(path) == (key, False)

    @pytest.mark.parametrize("content", [b"", b"rubbish", make_node_key()[1].pem])
    def test_what_is_no_private_key_is_not_replaced(self, tmp_path, content):
        path = tmp_path / "node.key"
        path.write_bytes(content)
        with pytest.raises(ValueError):  # noqa: PT011 - the library's own words
            ensure_node_key(path)
        assert path.read_bytes() == content

    def test_flower_reads_the_file(self, tmp_path):
        from argparse import Namespace

        from flwr.supernode.cli.flower_supernode import _try_setup_client_authentication

        path = tmp_path / "node.key"
        key, _ = ensure_node_key(path)
        arguments = Namespace(auth_supernode_private_key=str(path), auth_supernode_public_key=None)
        _, public = _try_setup_client_authentication(arguments)
        assert public_key_to_bytes(public) == key.pem == read_node_key(path).pem


class TestVariable:
    def test_several_keys_are_a_list(self):
        keys = [make_node_key()[1] for _ in range(3)]
        pem = b"".join(key.pem for key in keys)
        for text in (pem.decode(), base64.b64encode(pem).decode()):
            assert keys_of_pem(resolve({"FL_NODE_KEYS": text}).settings.node_keys) == tuple(keys)
        assert keys_of_pem("") == ()

    @pytest.mark.parametrize(
        "text",
        [
            make_node_key()[0].decode(),
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            "ecdsa-sha2-nistp384 AAAA",
            "x",
        ],
        ids=["a private key", "no key", "OpenSSH", "no PEM"],
    )
    def test_what_is_no_key_is_refused(self, text):
        with pytest.raises(SettingsError, match="FL_NODE_KEYS"):
            resolve({"FL_NODE_KEYS": text})


class TestPins:
    @given(st.dictionaries(st.integers(0, 10**17), st.integers(0, 3), max_size=4))
    def test_a_file_is_read_as_it_was_written(self, rows):
        keys = [NodeKey(der(ec.derive_private_key(7 + number, ec.SECP384R1()))) for number in range(4)]
        pins = Pins(keys={vm: keys[number] for vm, number in rows.items()}, changed=dict.fromkeys(rows, "ab"))
        assert Pins.parse(pins.text()) == pins

    @given(
        st.lists(
            st.tuples(
                st.frozensets(st.integers(1, 4)), st.dictionaries(st.integers(1, 5), st.integers(0, 3))
            ),
            max_size=6,
        )
    )
    def test_a_key_is_never_changed_and_never_shared(self, looks):
        keys = [NodeKey(der(ec.derive_private_key(7 + number, ec.SECP384R1()))) for number in range(4)]
        pins = Pins()
        for members, claims in looks:
            before, pins = pins, pins.follow(members, {vm: keys[number] for vm, number in claims.items()})
            assert pins.keys.keys() <= members
            assert len(set(pins.keys.values())) == len(pins.keys)
            assert all(pins.keys[vm] == key for vm, key in before.keys.items() if vm in members)
