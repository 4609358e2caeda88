"""FedProx's proximal term for an app that does not add it: whose it is in a message, and what became of it.

The app adds the term itself where it reads `proximal-mu`, or calls `oneflower.sdk.client.proximal_term`; or
where it copies its whole config and its own code names the term. Else it is added here, for PyTorch and
Keras, unless FL_PROXIMAL_TERM=app.
"""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from oneflower.aggregation import NDArray
from oneflower.errors import AppError
from oneflower.flower.api import ConfigRecord, Message
from oneflower.flower.calls.seeds import told_of_imports
from oneflower.flower.records import array_view

KEYS: Final = ("proximal-mu", "proximal_mu")
"""What Flower's FedProx sends, and what that of its older API sends."""
ADDED, OWN, UNSEEN = "added", "app", "unseen"
"""The term was added here; the app adds it; nothing was seen that it could have been added to."""
MOST_LEFT_OUT: Final = 5
FRAMEWORKS: Final = frozenset({"torch", "keras"})
"""Whose optimizers get the term."""
_INSTALLED: Final = (sys.prefix, sys.base_prefix)


@dataclass(slots=True, kw_only=True)
class Term:
    """The proximal term of one message.

    Attributes
    ----------
    by_shape
        The float arrays of the message.
    own
        Whether the app adds the term itself, as far as it has shown.
    left_out
        By identity: the shapes of what the app trains and the message does not hold.
    checks
        What raises AppError at the end where the term was not that of this message.
    """

    mu: float
    by_shape: dict[tuple[int, ...], list[NDArray]]
    own: bool = False
    copied: bool = False
    steps: int = 0
    matched: int = 0
    left_out: dict[int, tuple[int, ...]] = field(default_factory=dict)
    checks: list[Callable[[], None]] = field(default_factory=list)

    @classmethod
    def of(cls, message: Message, mu: float) -> "Term":
        """Return the term of a message, whose arrays are views of its memory."""
        by_shape: dict[tuple[int, ...], list[NDArray]] = {}
        for record in message.content.array_records.values():
            for array in record.values():
                values = _floats(array)
                if values is not None:
                    by_shape.setdefault(values.shape, []).append(values)
        return cls(mu=mu, by_shape=by_shape)

    def is_apps(self) -> bool:
        """Return whether the app adds the term itself; asked before each step."""
        if self.copied and not self.own:
            self.own, self.copied = _app_names_it(), False
        return self.own

    def outcome(self) -> str:
        """Return what became of the term; AppError where none of what was trained is in the message."""
        if self.is_apps():
            return OWN
        for check in self.checks:
            check()
        if not self.steps:
            return UNSEEN
        if not self.matched:
            raise AppError(
                "the proximal term could not be added: none of the arrays that the optimizer trains had the "
                "values of an array of the message when its first step came. Load the arrays of the message "
                "into the model before the first step; or add the term to the loss, and set "
                "FL_PROXIMAL_TERM=app"
            )
        return ADDED

    def left_out_text(self) -> str:
        """Return the shapes of what was trained without the term."""
        shapes = [str(list(shape)) for shape in self.left_out.values()]
        more = f" and {len(shapes) - MOST_LEFT_OUT} more" if len(shapes) > MOST_LEFT_OUT else ""
        return ", ".join(shapes[:MOST_LEFT_OUT]) + more


_current: Term | None = None
"""Of the process: an app may train in another thread."""


def current_term() -> Term | None:
    """Return the term of the message that the app works on, if it is not known to be the app's."""
    return None if _current is None or _current.is_apps() else _current


def app_adds_term() -> None:
    """Say that the app adds the term of this message itself."""
    if _current is not None:
        _current.own = True


class WatchedConfig(ConfigRecord):
    """A config that remembers whether the app has read mu. A copy of it is as any other."""

    def __getitem__(self, item: str) -> Any:
        """Return a value."""
        if item in KEYS:
            app_adds_term()
        return super().__getitem__(item)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys, as `dict(config)` and `**config` do."""
        _copied()
        return super().__iter__()

    def items(self) -> Any:
        """Return the items."""
        _copied()
        return super().items()

    def values(self) -> Any:
        """Return the values."""
        _copied()
        return super().values()

    def copy(self) -> Any:
        """Return a plain copy."""
        return ConfigRecord(dict(super().items()))


# Flower sends a record under its class's name, and an app may put this one into its reply or state.
WatchedConfig.__name__ = WatchedConfig.__qualname__ = ConfigRecord.__qualname__


def _copied() -> None:
    if _current is not None:
        _current.copied = True


@contextmanager
def proximal_term(message: Message, *, wanted: bool) -> Iterator[Term | None]:
    """Add the term to what the app trains in the block; give None where the message has none."""
    global _current  # noqa: PLW0603 one message at a time
    mu = _sent_mu(message) if wanted else 0.0
    if not mu:
        yield None
        return
    term = Term.of(message, mu)
    for name, record in list(message.content.config_records.items()):
        if any(key in record for key in KEYS):
            message.content[name] = WatchedConfig(dict(record))
    added: list[Callable[[], object]] = []

    def add_to(name: str, module: ModuleType) -> None:
        if name == "torch":
            from oneflower.flower.calls.torch_term import add_hooks  # noqa: PLC0415 it has just been imported

            added.append(add_hooks())
        if name == "keras":
            from oneflower.flower.calls import keras_term  # noqa: PLC0415 few apps need it

            added.append(keras_term.add_hooks(module, term))

    before, _current = _current, term
    try:
        for name in FRAMEWORKS & sys.modules.keys():
            add_to(name, sys.modules[name])
        with told_of_imports(add_to):
            yield term
    finally:
        _current = before
        for remove in added:
            remove()


def _sent_mu(message: Message) -> float:
    """Return mu of a train message; 0 where there is none."""
    if not message.has_content() or message.metadata.message_type.partition(".")[0] != "train":
        return 0.0
    for record in message.content.config_records.values():
        for key in KEYS:
            value = record.get(key)
            if isinstance(value, int | float) and math.isfinite(value) and value > 0:
                return float(value)
    return 0.0


def _floats(array: Any) -> NDArray | None:
    try:
        values = array_view(array)
    except ValueError:
        return None
    return values if values.dtype.kind == "f" else None


def _app_names_it() -> bool:
    """Return whether code of the app's client names the term: who only copies the config may not mean it."""
    return any(_names_it(module) for module in list(sys.modules.values()))


def _names_it(module: ModuleType | None) -> bool:
    file = getattr(module, "__file__", None)
    if module is None or not isinstance(file, str) or file.startswith(_INSTALLED):
        return False
    if module.__name__.partition(".")[0] == "oneflower" or not file.endswith(".py"):
        return False
    try:
        text = Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "ServerApp(" not in text and any(key in text for key in KEYS)


def unwatched(config: Mapping[str, object]) -> Mapping[str, object]:
    """Return a config that can be read without a word about it."""
    return config.copy() if isinstance(config, ConfigRecord) else config
