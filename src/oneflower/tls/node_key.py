"""Make the key with which a SuperNode proves who it is."""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from oneflower.node_keys import NodeKey
from oneflower.tls.authority import write_private


def make_node_key() -> tuple[bytes, NodeKey]:
    """Return a private key in the form that `flower-supernode` reads (OpenSSH), and its public key."""
    private = ec.generate_private_key(ec.SECP384R1())
    text = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return text, _public(private)


def read_node_key(path: Path) -> NodeKey:
    """Return the public key of a file.

    Raises
    ------
    OSError
        It cannot be read; FileNotFoundError if there is none.
    ValueError
        It is not such a key.
    """
    try:
        private = serialization.load_ssh_private_key(path.read_bytes(), password=None)
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise ValueError("it is not an elliptic-curve key")  # noqa: TRY004 - damaged content
    return _public(private)


def ensure_node_key(path: Path) -> tuple[NodeKey, bool]:
    """Return the public key of a file, and whether it was made now; an existing key is kept.

    Raises
    ------
    OSError
        The file cannot be written.
    ValueError
        There is a file that holds no key; it is not replaced, for the SuperLink knows the key that was there.
    """
    try:
        return read_node_key(path), False
    except FileNotFoundError:
        private, key = make_node_key()
        write_private(path, private)
        return key, True


def _public(private: ec.EllipticCurvePrivateKey) -> NodeKey:
    return NodeKey(
        private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
