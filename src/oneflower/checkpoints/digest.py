"""The identity of a model: one SHA-256 over its names, dtypes, shapes and raw bytes."""

import hashlib

from oneflower.checkpoints.npz import Arrays, npz_pieces


def model_digest(arrays: Arrays) -> str:
    """Return the SHA-256 of a model as hex digits, whatever order its arrays come in.

    It is the SHA-256 of the bytes that the store writes for the model: `sha256sum checkpoint_round_N.npz`
    prints the same digits.
    """
    digest = hashlib.sha256()
    for piece in npz_pieces(arrays):
        digest.update(piece)
    return digest.hexdigest()
