"""How an app's own strategy chooses clients: a seeded choice, of ids that a restart does not change."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field

from oneflower.flower.api import ArrayRecord, ConfigRecord, Grid, Message, strategy
from oneflower.flower.parts import MEMBERS
from oneflower.stock.returned import messages
from oneflower.stock.stable_ids import StableIds
from oneflower.training.sampling import without_waiting

Seed = Callable[..., object]
"""Seeds every generator of this process from some parts, such as ("server", 3)."""

SAME_SAMPLE_TRIES = 3
"""So many attempts of a round ask the same clients; then others are drawn, in case some only fail."""


@dataclass(slots=True, kw_only=True)
class AppSampling:
    """An app's strategy in its choice of clients: a seeded one, of ids that a restart does not change.

    Attributes
    ----------
    inner
        What the app has made.
    ids
        The nodes as the app sees them.
    seed
        Called before anything of the app's that may draw random numbers.
    train_config, evaluate_config
        The records that the app gave for its messages: a strategy may change them from round to round.
    drawn
        Whether it sees only clients that were drawn before (FL_CLIENTS_PER_ROUND).
    """

    inner: strategy.Strategy
    ids: StableIds
    seed: Seed
    train_config: ConfigRecord
    evaluate_config: ConfigRecord
    drawn: bool = False
    _tries: tuple[int, int] = (0, 0)
    _asked: list[frozenset[int]] = field(default_factory=list)
    _hidden: frozenset[int] = frozenset()

    def summary(self) -> None:
        """Log the app's own summary."""
        self.inner.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the app's training messages, to the nodes that a seeded sample of its takes."""
        before, tries = self._tries
        self._tries = server_round, tries + 1 if before == server_round else 1
        again = max(0, self._tries[1] - SAME_SAMPLE_TRIES)
        self.seed("server", server_round, *(["try", again] if again else []))
        if self._tries[1] == 1:
            self._asked, self._hidden = [], frozenset()
        shown, own = self.ids.of(grid, hidden=self._failed()), _with(self.train_config, config)
        with without_waiting(innermost(self.inner)) if self.drawn else nullcontext():
            returned = self.inner.configure_train(server_round, arrays, own, shown)
            chosen = self.ids.to_nodes(messages(self.inner, "configure_train", returned))
        self._asked.append(frozenset(message.metadata.dst_node_id for message in chosen))
        return chosen

    def _failed(self) -> frozenset[int]:
        """Return whom to leave out: the clients that a rule without chance takes in each try of a round."""
        last = self._asked[-SAME_SAMPLE_TRIES:]
        if self.drawn:  # whoever draws leaves them out
            return frozenset()
        if len(last) == SAME_SAMPLE_TRIES and len(set(last)) == 1:
            self._hidden |= last[0]
        return self._hidden

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the app's evaluation messages."""
        self.seed("server", server_round, "evaluate")
        shown, own = self.ids.of(grid), _with(self.evaluate_config, config)
        with without_waiting(innermost(self.inner)):
            returned = self.inner.configure_evaluate(server_round, arrays, own, shown)
            return self.ids.to_nodes(messages(self.inner, "configure_evaluate", returned))


def _with(own: ConfigRecord, config: ConfigRecord) -> ConfigRecord:
    """Return the app's record with what is added to it, but for the table of partitions, which we send."""
    own.update({key: value for key, value in config.items() if key != MEMBERS})
    return own


def innermost(inner: strategy.Strategy) -> strategy.Strategy:
    """Return the strategy that the others wrap, as those for differential privacy do."""
    wrapped = getattr(inner, "strategy", None)
    return innermost(wrapped) if isinstance(wrapped, strategy.Strategy) else inner
