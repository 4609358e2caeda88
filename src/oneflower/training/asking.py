"""Ask all clients once, before round 1, for what an app needs to know of their data."""

import hashlib
from collections.abc import Callable, Iterable
from logging import WARNING

from oneflower.codes import RoundFailure
from oneflower.errors import TrainingError
from oneflower.flower.api import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict, log
from oneflower.flower.grid import Reply
from oneflower.journal.events import RoundFailed
from oneflower.settings import TrainingConfig
from oneflower.training.collected import Collected, Parse
from oneflower.training.phases import Phases
from oneflower.training.replies import ReplyError
from oneflower.words import counted

Check = Callable[[Message], str | None]
"""Returns why an answer cannot be used, or None."""

Ask = Callable[[Check], list[Message]]
"""Asks every connected client (its `@app.query()`), drops answers for which the check gives a reason."""

Prepare = Callable[[ArrayRecord, Ask], ArrayRecord]
"""Makes the model of round 0 from the initial one and the clients' answers; not called on a resume."""


def ask_clients(phases: Phases, config: TrainingConfig, check: Check) -> list[Message]:
    """Return the valid answers of all connected clients, in an order that depends only on their content.

    Raises
    ------
    TrainingError
        Fewer than the quorum of a round answered, once more than FL_ROUND_RETRIES times.
    """
    for attempt in range(1, config.round_retries + 2):
        answers = _ask_once(phases, config, _parse_with(check))
        needed = config.quorum_after(answers.quarantined)
        if len(answers.valid) >= needed:
            return sorted(answers.valid, key=_content_digest)
        reason = f"{len(answers.valid)} valid answers, {needed} needed"
        log(WARNING, "asking the clients failed attempt=%d reason=%s", attempt, reason)
        phases.record(
            RoundFailed(
                round=0,
                rounds=config.num_rounds,
                attempt=attempt,
                valid=len(answers.valid),
                needed=needed,
                code=RoundFailure.FEW_UPDATES,
                reason=reason,
                tries_left=config.round_retries + 1 - attempt,
            )
        )
        if attempt <= config.round_retries:
            phases.back_off(attempt)
    raise TrainingError(
        f"the clients were asked {counted(attempt, 'time')} before round 1; the last time: {reason}. Mend "
        f"the clients that the log names, or lower FL_MIN_FIT_CLIENTS (now {config.min_fit_clients})"
    )


def _parse_with(check: Check) -> Parse[Message]:
    def parse(reply: Reply) -> Message:
        if reason := check(reply.message):
            raise ReplyError(reason)
        return reply.message

    return parse


def _ask_once(phases: Phases, config: TrainingConfig, parse: Parse[Message]) -> Collected[Message]:
    needed = max(config.min_available_clients, config.quorum)
    cohort = phases.gather_cohort(needed)
    if len(cohort) < needed:
        return Collected(valid=[], quarantined=0)
    phases.assign_parts(0)
    questions = _questions(cohort, phases.parts.into(ConfigRecord({"server-round": 0, "seed": config.seed})))
    return phases.collect("query", 0, questions, quorum=config.quorum_after, parse=parse)


def _questions(cohort: Iterable[int], config: ConfigRecord) -> list[Message]:
    return [
        Message(
            RecordDict({"config": config}),
            dst_node_id=node_id,
            message_type=MessageType.QUERY,
        )
        for node_id in cohort
    ]


def _content_digest(answer: Message) -> bytes:
    """Node ids are random at every registration; only the content says which answer is which."""
    digest = hashlib.sha256()
    for record in answer.content.array_records.values():
        for name in sorted(record):
            digest.update(name.encode() + record[name].data)
    for metrics in answer.content.metric_records.values():
        digest.update(repr(sorted(metrics.items())).encode())
    return digest.digest()
