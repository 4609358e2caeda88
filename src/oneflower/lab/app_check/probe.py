"""Run an app's server up to its first training message, and give that message to a client repeatedly."""

import traceback
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from oneflower.aggregation import WEIGHT
from oneflower.errors import AppError
from oneflower.flower.api import ArrayRecord, ClientApp, ConfigRecord, Context, Message, RecordDict, ServerApp
from oneflower.flower.calls.control import APP, RECORD, Control, with_control
from oneflower.flower.calls.seeds import seed_everything
from oneflower.flower.client_mark import take_mark
from oneflower.lab.localgrid import LocalGrid
from oneflower.stock import start
from oneflower.stock.app_strategy import weight_name
from oneflower.training import train
from oneflower.words import counted

CONFIG = "config"
"""The record in which every strategy of Flower sends its config to a client."""
_CONTROL = Control(training="0" * 8, session="0" * 8, round=1, seed=42)
PATIENCE = 5
"""How often a server may ask for clients and send nothing: Flower waits three seconds each time."""


class WatchedConfig(dict[str, Any]):
    """A run-config that remembers which keys were read and are not declared.

    Attributes
    ----------
    missed
        Keys that had to be there.
    optional
        Keys for which the reader had a default.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.missed: set[str] = set()
        self.optional: set[str] = set()

    def __missing__(self, key: str) -> Any:
        """Remember the key; it is an error all the same."""
        self.missed.add(key)
        raise KeyError(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, and remember a key that has none."""
        if key not in self:
            self.optional.add(key)
        return super().get(key, default)


class Way(StrEnum):
    """How an app trains: through oneflower.sdk.train, a strategy's start, or a loop of its own."""

    SDK = "sdk"
    STRATEGY = "strategy"
    LOOP = "loop"


class TrainsNothingError(Exception):
    """The server has asked clients, and ended without a training message."""


class _FirstMessageError(Exception):
    """Leaves the server's code with the message that it wanted to send."""

    def __init__(self, message: Message) -> None:
        super().__init__("the first training message")
        self.message = message


class _ProbeGrid(LocalGrid):
    """A LocalGrid that stops the server at its first training message."""

    def __init__(
        self, client_app: ClientApp, *, clients: Sequence[int], run_config: WatchedConfig, app: str
    ) -> None:
        super().__init__(client_app, clients=clients[0], run_config=run_config, app=app)
        self._more = list(clients[1:])
        self._watched = run_config
        self._looks = self.asked = 0
        self._left: RecordDict | None = None
        self.first: Message | None = None
        """The first training message, which older servers send from threads of their own."""
        self._watch()

    def _watch(self) -> None:
        for context in self._contexts.values():
            context.run_config = self._watched

    def get_node_ids(self) -> Iterable[int]:
        """Return every client's id; a server that asks again and again waits for more of them."""
        self._looks += 1
        if self._looks > PATIENCE and self.first is None:
            self._grow()
        return super().get_node_ids()

    def _grow(self) -> None:
        if not self._more:
            raise AppError(
                f"it waits for more than {counted(len(self._contexts), 'client')}; expected a training "
                f"message. Use --clients N with as many as the server asks for"
            )
        count = self._more.pop(0)
        larger = LocalGrid(self._client_app, clients=count, run_config=self._watched, app=self.run.fab_id)
        self._contexts, self._looks = larger._contexts, 0  # noqa: SLF001 - of the same class
        self._watch()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Queue what is no training message."""
        messages = list(messages)
        self._looks = 0
        self.asked += len(messages)
        for message in messages:
            if message.metadata.message_type.partition(".")[0] == "train":
                self.first = self.first or message
                raise _FirstMessageError(message)
        return super().push_messages(messages)

    def answer(self, message: Message) -> Message:
        """Run one client: a training without memory, anything else with what the first one has left."""
        context = self._contexts[message.metadata.dst_node_id]
        trains = message.metadata.message_type == "train"
        context.state = RecordDict() if trains or self._left is None else deepcopy(self._left)
        (reply,) = self.pull_messages(super().push_messages([message]))
        take_mark(reply)
        if trains and self._left is None and not reply.has_error():
            self._left = deepcopy(context.state)
        return reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A client that can be asked, and the server's first training message to it.

    `weighted_by` is the metric that holds the number of examples.
    """

    message: Message
    grid: _ProbeGrid
    way: Way = Way.SDK
    weighted_by: str = WEIGHT

    @property
    def arrays(self) -> ArrayRecord | None:
        """The model that the server sent; None where it is not one array record."""
        records = list(self.message.content.array_records.values())
        return records[0] if len(records) == 1 else None

    @property
    def config(self) -> Mapping[str, object]:
        """The config that the server sent to the client."""
        return self.message.content.config_records.get(CONFIG, {})

    def ask(
        self,
        category: str = "train",
        *,
        global_seed: int = 1,
        config: Mapping[str, float] | None = None,
        proximal_term: str = APP,
    ) -> Message:
        """Give the client the message once more, with some keys of its config set.

        `global_seed` seeds the global random generators: a client that seeds nothing repeats itself with the
        same one, and differs with another. With `proximal_term="auto"` oneflower adds the term where the app
        does not.
        """
        content = deepcopy(self.message.content)
        if RECORD not in content:  # a loop of the app's own: the recording grid adds it
            content = with_control(content, _CONTROL)
        content.config_records[RECORD]["proximal-term"] = proximal_term
        content[CONFIG] = ConfigRecord({**content.config_records.get(CONFIG, {}), **(config or {})})
        seed_everything(global_seed)
        return self.grid.answer(Message(content, self.message.metadata.dst_node_id, category))


def first_message(
    server: ServerApp, client: ClientApp, *, context: Context, clients: Sequence[int], app: str
) -> Probe | None:
    """Run the server until it wants a client to train; None where it ends without.

    Raises
    ------
    TrainsNothingError
        It has asked clients and ended.
    Exception
        Whatever the server's code raises.
    """
    if not isinstance(context.run_config, WatchedConfig):
        raise TypeError("the context's run-config is not watched")
    grid = _ProbeGrid(client, clients=clients, run_config=context.run_config, app=app)
    try:
        server(grid, context)
    except _FirstMessageError as sent:
        return Probe(message=sent.message, grid=grid, way=_way(sent), weighted_by=_weighted_by(sent))
    except Exception:
        if grid.first is None:
            raise
    if grid.first is not None:
        return Probe(message=grid.first, grid=grid, way=Way.LOOP)
    if grid.asked:
        raise TrainsNothingError
    return None


def _way(error: BaseException) -> Way:
    """Return how the server came to its first message: by which modules the exception passed."""
    passed = {Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)}
    if Path(str(start.__file__)) in passed:
        return Way.STRATEGY
    return Way.SDK if Path(str(train.__file__)) in passed else Way.LOOP


def _weighted_by(error: BaseException) -> str:
    """Return the metric by which the strategy weights that the app has started: a frame holds it."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        started = frame.f_locals.get("started")
        if isinstance(started, start.Started):
            return weight_name(started.strategy)
    return WEIGHT
