"""A public key has one form; everything else is refused, whoever wrote it."""

import base64
import re
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, public_key_to_bytes, uses_nist_ec_curve
from hypothesis import given
from hypothesis import strategies as st

from oneflower.errors import SettingsError
from oneflower.node_keys import NodeKey, Pins, fingerprint_of, keys_of_pem
from oneflower.settings import resolve
from oneflower.settings.pem import CERTIFICATE
from oneflower.tls import ensure_node_key, make_node_key, read_node_key

DER = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
CURVES = [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()]
KEYS = tuple(make_node_key()[1] for _ in range(2))
FIRST, SECOND = (key.pem.decode() for key in KEYS)
UNUSABLE = {
    "the last one is cut off": (FIRST + "\n" + SECOND[:92], "PUBLIC KEY 2 is truncated"),
    "the first one is cut off": (FIRST[:92] + "\n" + SECOND, "PUBLIC KEY 1 is truncated"),
    "no first line": (FIRST + SECOND[27:], "PUBLIC KEY 2 is truncated"),
    "half a first line": (FIRST + SECOND[:12], "the text after key 1 .12 bytes."),
    "half a last line": (FIRST + SECOND[:-4], "PUBLIC KEY 2 is truncated"),
    "lines are missing inside": (FIRST + SECOND[:92] + SECOND[157:], "key 2: it is not the public key"),
    "half a line is missing inside": (FIRST + SECOND[:50] + SECOND[92:], "PUBLIC KEY 2"),
    "text after": (FIRST + "/app/junk\n", "the text after key 1 .9 bytes."),
    "text before": ("/app/junk\n" + FIRST, "the text before key 1 .9 bytes."),
    "text between": (FIRST + "/app/junk\n" + SECOND, "the text after key 1"),
    "base64 after": (FIRST + base64.b64encode(SECOND.encode()).decode(), "the text after key 1"),
    "OpenSSH after": (FIRST + "ecdsa-sha2-nistp384 AAAA x\n", "after key 1 .*ssh-keygen -e -m PKCS8"),
    "a certificate after": (
        FIRST + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "block 2 is CERTIFICATE, not PUBLIC KEY",
    ),
    "a private key after": (FIRST + make_node_key()[0].decode(), "block 2 is .*ssh-keygen -e -m PKCS8"),
}


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

    @pytest.mark.parametrize("encoded", [False, True], ids=["plain", "base64"])
    @pytest.mark.parametrize("name", [*UNUSABLE])
    def test_a_text_with_more_than_whole_keys_is_refused(self, name, encoded):
        """Otherwise a key is left out, and its SuperNode never joins."""
        text, says = UNUSABLE[name]
        given = base64.b64encode(text.encode()).decode() if encoded else text
        with pytest.raises(SettingsError, match=f"FL_NODE_KEYS.*{says}") as caught:
            resolve({"FL_NODE_KEYS": given})
        for key in KEYS:
            assert not any(line in str(caught.value) for line in key.pem.decode().splitlines()[1:-1])
        assert "/app/junk" not in str(caught.value)

    @pytest.mark.parametrize("join", ["", "\n\n", " ", "\r\n"])
    def test_blanks_between_keys_are_no_text(self, join):
        text = "\ufeff" + join.join(key.pem.decode() for key in KEYS) + join
        assert keys_of_pem(resolve({"FL_NODE_KEYS": text}).settings.node_keys) == KEYS

    @pytest.mark.parametrize("kind", ["OpenSSH", "SEC 1", "PKCS 8", "public line"])
    def test_the_command_that_an_error_names_prints_the_key(self, kind, tmp_path):
        """Run on every form of an EC key that a machine may hold."""
        private = ec.generate_private_key(ec.SECP384R1())
        form = {"SEC 1": "TraditionalOpenSSL", "PKCS 8": "PKCS8"}.get(kind, "OpenSSH")
        content = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat[form], serialization.NoEncryption()
        )
        if kind == "public line":
            content = private.public_key().public_bytes(
                serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
            )
        with pytest.raises(SettingsError) as caught:
            resolve({"FL_NODE_KEYS": content.decode()})
        command = re.search("`(ssh-keygen .*) > node-keys.pem`", str(caught.value))[1]
        (tmp_path / "node.key").touch(mode=0o600)
        (tmp_path / "node.key").write_bytes(content)
        done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, check=True)
        assert done.stdout == NodeKey(der(private)).pem


class TestCertificates:
    """The other PEM variables may have text between blocks, and no block that is cut off."""

    BLOCK = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"

    def test_text_between_certificates_is_dropped(self):
        text = f"subject=one\n{self.BLOCK}\nsubject=two\n{self.BLOCK}"
        assert base64.b64decode(CERTIFICATE.parse(text)).decode() == self.BLOCK * 2

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            (BLOCK + BLOCK[:34], "CERTIFICATE 2 is truncated: the line -----END CERTIFICATE-----"),
            (BLOCK[:34] + "\n" + BLOCK, "CERTIFICATE 1 is truncated: the line -----END"),
            (BLOCK + BLOCK[28:], "CERTIFICATE 2 is truncated: the line -----BEGIN"),
            (BLOCK + BLOCK[:20], "incomplete"),
        ],
    )
    def test_a_truncated_certificate_is_refused(self, text, says):
        with pytest.raises(ValueError, match=says):
            CERTIFICATE.parse(text)


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
