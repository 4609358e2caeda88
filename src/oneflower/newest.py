"""What is remembered of the newest keys only: whoever joins again and again must not fill the memory."""

from collections import OrderedDict
from typing import Final, TypeVar

MOST: Final = 10_000

Key = TypeVar("Key")
Value = TypeVar("Value")


class Newest(OrderedDict[Key, Value]):
    """A dict of the `most` keys that were set last."""

    def __init__(self, most: int = MOST) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: Key, value: Value) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._most:
            del self[next(iter(self))]
