"""Sign the rounds of a folder that were committed without a key, or with another one."""

from collections.abc import Mapping
from contextlib import suppress

from oneflower.checkpoints.files import Files, OsFiles, state_error
from oneflower.checkpoints.manifest import Manifest, render, sign
from oneflower.checkpoints.names import manifest_name
from oneflower.checkpoints.reader import CheckpointReader
from oneflower.checkpoints.signing import Signer
from oneflower.checkpoints.store import CheckpointStore
from oneflower.checkpoints.writing import replace_file
from oneflower.errors import CheckpointError


def sign_folder(store: CheckpointStore, signer: Signer, *, files: Files | None = None) -> Mapping[int, str]:
    """Sign every round whose checksums verify and which `signer` would refuse; return what became of each.

    All are signed for one training: the signer's, else that of the newest signed round, or a new one.

    Parameters
    ----------
    store
        Open for writing, without a signer.
    """
    signer = signer.of_training(
        signer.training or _training(store, CheckpointReader(store.root, signer=signer))
    )
    ours = CheckpointReader(store.root, signer=signer)
    done = {}
    for number in store.rounds():
        try:
            manifest = store.verify(number)
        except CheckpointError as error:
            done[number] = f"not signed: {error}"
            continue
        if _is_ours(ours, number):
            done[number] = "signed before"
            continue
        _replace(files or OsFiles(), store, manifest, signer)
        done[number] = "signed"
    store.close()
    store.open()  # which copies the newest manifest
    return done


def _training(store: CheckpointStore, ours: CheckpointReader) -> str:
    """Return the training of the newest round that our key has signed, else another key; empty if none has.

    After a change of the key the training stays the one that its machine remembers.
    """
    for reader in (ours, store):
        for number in reversed(reader.rounds()):
            with suppress(CheckpointError):
                if training := reader.training(number):
                    return training
    return ""


def _is_ours(ours: CheckpointReader, number: int) -> bool:
    try:
        ours.training(number)
    except CheckpointError:
        return False
    return True


def _replace(files: Files, store: CheckpointStore, manifest: Manifest, signer: Signer) -> None:
    try:
        content = render(sign(manifest.content, signer))
        replace_file(files, store.root / manifest_name(manifest.round), content)
        files.sync_folder(store.root)
    except OSError as error:
        raise state_error(error, f"signing the checkpoint of round {manifest.round}", store.root) from error
