"""The keys of a local cluster's SuperNodes: one for each start of a process, which dies with it."""

from pathlib import Path

from oneflower.files import replace_file, state_errors
from oneflower.node_keys import NodeKey, Pins
from oneflower.tls import make_node_key, write_private


class LocalKeys:
    """Keys in a folder, and the list of them that the SuperLink reads.

    A SuperNode that is restarted gets another key, so it need not wait until its old one is free.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys: dict[int, NodeKey] = {}

    @property
    def file(self) -> Path:
        """The list of public keys."""
        return self._folder / "node-keys.json"

    def clear(self) -> None:
        """Begin with a list that lets nobody in."""
        self._keys = {}
        with state_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._write()

    def make(self, index: int) -> Path:
        """Make the key of a SuperNode, number `index` from 0, in place of its old one; return its file.

        Raises
        ------
        StateError
            The folder cannot be written.
        """
        private, self._keys[index] = make_node_key()
        path = self._folder / f"supernode-{index}.key"
        with state_errors(path):
            write_private(path, private)
        self._write()
        return path

    def _write(self) -> None:
        with state_errors(self.file):
            replace_file(self.file, Pins(keys=self._keys).text().encode(), mode=0o600)
