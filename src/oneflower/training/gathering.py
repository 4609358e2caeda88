"""The clients of a phase, where not all take part, and what an attempt of a round gathers from them."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from oneflower.aggregation import Arrays, Update
from oneflower.codes import Task
from oneflower.flower.api import ArrayRecord, ConfigRecord, Message
from oneflower.journal.events import ClientQuarantined, ClientsSampled, RoundStarted
from oneflower.settings import TrainingConfig
from oneflower.training.blame import shared_fault
from oneflower.training.collected import Collected
from oneflower.training.draw import Draw
from oneflower.training.driver import Driver
from oneflower.training.phases import Phases

MOST_CLIENTS: Final = 500
"""In one event."""


class Drawing(Protocol):
    """What a draw needs of the round loop."""

    @property
    def config(self) -> TrainingConfig: ...  # noqa: D102 - see `RoundLoop`
    @property
    def phases(self) -> Phases: ...  # noqa: D102


class Training(Drawing, Protocol):
    """What an attempt needs of it."""

    @property
    def strategy(self) -> Driver: ...  # noqa: D102
    @property
    def train_config(self) -> ConfigRecord: ...  # noqa: D102


def draw_clients(
    loop: Drawing, cohort: Iterable[int], server_round: int, task: Task, last: Collection[int] = ()
) -> Draw | None:
    """Draw the clients of a phase, and let a strategy see only these; None where all take part."""
    config, phases, trains = loop.config, loop.phases, task is Task.TRAIN
    wanted = config.clients_per_round if trains else config.evaluate_clients_per_round
    if not wanted or phases.sampler is None:
        return None
    draw = phases.sampler.draw(
        cohort,
        server_round,
        task,
        wanted=wanted,
        spare=config.oversampling if trains else 0.0,
        partitions=len(phases.parts.members),
        last=last,
    )
    phases.grid.set_cohort(draw.order)
    return draw


def asked_of_draw(
    phases: Phases, draw: Draw | None, server_round: int, task: Task, messages: Iterable[Message]
) -> Draw | None:
    """Return the draw of those whom the strategy asks, and write who they are to the journal.

    An app's strategy that waits for more clients than were drawn may ask others: then all replies count.
    """
    nodes = {message.metadata.dst_node_id for message in messages}
    if draw is None or not nodes.issubset(draw.order):
        return None
    asked = draw.among(nodes)
    for start in range(0, len(asked.order), MOST_CLIENTS):
        part = slice(start, start + MOST_CLIENTS)
        phases.record(
            ClientsSampled(
                round=server_round,
                phase=task,
                wanted=asked.wanted,
                clients=tuple(map(str, asked.order[part])),
                slots=asked.slots[part],
            )
        )
    return asked


def collect_updates(  # noqa: PLR0913 - by name but for the first two
    loop: Training,
    server_round: int,
    *,
    arrays: ArrayRecord,
    model: Arrays,
    cohort: Sequence[int],
    failing: Collection[int],
) -> Collected[Update]:
    """Ask clients of the cohort for their updates; those in ``failing`` are drawn last."""
    phases, strategy = loop.phases, loop.strategy
    config = phases.parts.into(loop.train_config)
    parse = strategy.update_parser(model)
    draw = draw_clients(loop, cohort, server_round, Task.TRAIN, failing)
    messages = list(strategy.configure_train(server_round, arrays, config, phases.grid))
    asked = len({message.metadata.dst_node_id for message in messages})
    phases.record(
        RoundStarted(round=server_round, rounds=loop.config.num_rounds, clients=len(cohort), asked=asked)
    )
    collected = phases.collect(
        "train",
        server_round,
        messages,
        quorum=partial(_enough, loop.config, len(messages)),
        parse=parse,
        draw=asked_of_draw(phases, draw, server_round, Task.TRAIN, messages),
    )
    odd = strategy.odd(collected.valid)
    for client, error in odd.items():
        phases.leave_out(ClientQuarantined, server_round, client, error.code, str(error))
    return replace(
        collected,
        valid=[update for update in collected.valid if update.client not in odd],
        quarantined=collected.quarantined + len(odd),
    )


def _enough(config: TrainingConfig, asked: int, quarantined: int) -> int:
    """Return how many valid updates end the wait for others: those quarantined do not make it shorter."""
    quorum = max(config.quorum_after(quarantined), min(config.quorum, asked - quarantined))
    return min(quorum, asked)


def counted_updates(collected: Collected[Update]) -> Collected[Update]:
    """Leave out the updates that were drawn in addition and are not needed, whoever came first."""
    if collected.draw is None:
        return collected
    counted = collected.draw.counted({update.client for update in collected.valid})
    return replace(collected, valid=[update for update in collected.valid if update.client in counted])


def shared_by_all(collected: Collected[Update], connected: int) -> str | None:
    """Return the fault that every client has; one of several that was asked alone proves nothing."""
    if collected.asked == 1 < connected:
        return None
    return shared_fault(collected.raised, collected.malformed, collected.asked)


def drawn_of(collected: Collected[Update], connected: int) -> frozenset[int]:
    """Return those that were asked, where more are connected."""
    drawn = () if collected.draw is None else collected.draw.order
    return frozenset(drawn) if len(drawn) < connected else frozenset()
