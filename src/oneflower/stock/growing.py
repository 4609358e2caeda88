"""Replies to a strategy whose model grows, as boosted trees do: what they have in common with the model."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from oneflower.aggregation import Arrays, NDArray
from oneflower.codes import LeftOutCode
from oneflower.stock.boosters import Booster, looks_like_one, read_booster, require_like
from oneflower.training.replies import ReplyError

_MERGED = "0"
"""What `FedXgbBagging` calls the only array of a reply."""


@dataclass(frozen=True)
class Growing:
    """What the replies to one message must be.

    Attributes
    ----------
    sent
        The model of the message.
    merged
        Flower merges the trees of the replies; else the reply of one client becomes the model.
    """

    sent: Arrays
    merged: bool
    _found: dict[int, Booster] = field(default_factory=dict)

    def check(self, client: int, arrays: Arrays) -> None:
        """Refuse what cannot become a part of this model.

        Raises
        ------
        ReplyError
            It has other arrays, or is no booster where the model is one, or could be none else.
        """
        names = {_MERGED} if self.merged else set(self.sent) or set(arrays)
        if set(arrays) != names:
            wanted = ", ".join(map(repr, sorted(names)[:3]))
            raise ReplyError(
                f"the reply has {len(arrays)} arrays; expected {wanted}", LeftOutCode.ARRAY_NAMES
            )
        if self.merged or (self._bytes is not None and (not self._bytes or looks_like_one(self._bytes))):
            self._check_booster(client, next(iter(arrays.values())))
            return
        for name, array in arrays.items():
            if name in self.sent and array.dtype != self.sent[name].dtype:
                wanted = str(self.sent[name].dtype)
                raise ReplyError(f"array {name!r} is {array.dtype}; expected {wanted}", LeftOutCode.DTYPE)

    def form(self, client: int) -> Hashable:
        """Return what a reply that was checked says of itself, to compare it with the others."""
        return self._found.get(client)

    def _check_booster(self, client: int, array: NDArray) -> None:
        found = read_booster(array, self._bytes or b"", merged=self.merged)
        if self._booster is not None:
            require_like(found, self._booster)
        self._found[client] = found

    @cached_property
    def _bytes(self) -> bytes | None:
        """The model that was sent, where it is one array of bytes."""
        arrays = list(self.sent.values())
        if len(arrays) != 1 or arrays[0].dtype.itemsize != 1 or arrays[0].ndim != 1:
            return None
        return np.ascontiguousarray(arrays[0]).tobytes()

    @cached_property
    def _booster(self) -> Booster | None:
        """What the model says of itself; None before there are trees."""
        if not self._bytes:
            return None
        try:
            return read_booster(np.frombuffer(self._bytes, np.uint8), self._bytes, merged=False)
        except ReplyError:
            return None
