"""What the round loop says once, to the log and the journal, of what the clients have shown of their app."""

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from logging import INFO, WARNING
from typing import Any, Final

from oneflower.flower.api import log
from oneflower.flower.calls.proximal import ADDED, OWN, UNSEEN
from oneflower.foreign_text import shown
from oneflower.journal import Event
from oneflower.journal.events import ClientStateKept, ClientStateLost, EvaluationUnavailable, MetricMissing
from oneflower.settings import TrainingConfig
from oneflower.training.phases import Phases

CLIENT_STATE: Final = "client_state"
"""The records that clients keep in `context.state`, in a checkpoint's notes."""
STATE_LASTS: Final = "client_state_lasts"
"""Whether they are on the clients' disks."""
STATE_PARTITIONS: Final = "client_state_partitions"
"""Whose they are, then."""
IN_MEMORY, ON_DISK = "memory", "disk"
MOST_LOST: Final = 20
"""So many clients are named that have not got their state."""


@dataclass(slots=True, kw_only=True)
class Remarks:
    """Say each thing once a process; ``notes`` travel with the checkpoints."""

    config: TrainingConfig
    phases: Phases
    notes: MutableMapping[str, Any]
    no_evaluate: bool = False
    _missing_told: bool = False
    _proximal_told: set[str] = field(default_factory=set)
    _left_out_told: bool = False

    def no_evaluation(self, server_round: int) -> None:
        """Say that clients do not evaluate; all have the same app, so none is asked again."""
        self.no_evaluate = True
        log(
            WARNING,
            "the app has no @app.evaluate() for its clients: they are not asked to evaluate any more. "
            "FL_MIN_EVALUATE_CLIENTS=0 does not ask at all",
        )
        self._record(EvaluationUnavailable, server_round, reason="the ClientApp has no @app.evaluate()")

    def missing(self, server_round: int, found: str | None) -> None:
        """Say that the metric that decides is not measured; `found` is what is, if that is so."""
        if found is None or self._missing_told:
            return
        self._missing_told = True
        wanted = self.config.best_metric or "an accuracy or a loss"
        reason = f"nothing has measured {wanted} so far, only: {found}"
        log(
            WARNING,
            "no round is known as the best, and the training cannot end early: %s. Set FL_BEST_METRIC to "
            "one of them",
            reason,
        )
        self._record(MetricMissing, server_round, metric=self.config.best_metric, reason=reason)

    def who_decides(self, *, clients: bool) -> None:
        """Say that what clients measure decides, and how: it is not the mean then."""
        if clients:
            log(
                INFO,
                "what the clients measure decides the best round and an early end: each of their metrics is "
                "the median of the clients, so that one of them decides nothing",
            )

    def clients(self, server_round: int) -> None:
        """Say what the replies of a round have shown."""
        self.client_state(server_round)
        self._proximal_term()
        changed = self.phases.devices.remark(self.notes, server_round, self.config.num_rounds)
        if changed is not None:
            self.phases.record(changed)

    def client_state(self, server_round: int) -> None:
        """Say that clients keep state, whether it lasts, and who has not got its own; the notes remember."""
        seen = self.phases.shown
        if seen.lost:
            self._tell_lost(server_round, seen.lost)
            seen.lost.clear()
        if not seen.state:
            return
        self.notes[STATE_PARTITIONS] = sorted({*self.notes.get(STATE_PARTITIONS, ()), *seen.partitions})
        if self.notes.get(CLIENT_STATE) and not (seen.unkept and self.notes.get(STATE_LASTS)):
            return
        records = self.notes[CLIENT_STATE] = sorted(seen.state)
        lasts = self.notes[STATE_LASTS] = not seen.unkept
        if lasts:
            log(INFO, "clients keep state on their disks context.state=%s", ",".join(records))
        else:
            log(
                WARNING,
                "clients keep state of their own, which is neither in the checkpoints nor on their disks: a "
                "resumed training starts it empty context.state=%s",
                ",".join(records),
            )
        self._record(
            ClientStateKept, server_round, records=tuple(records), kept=ON_DISK if lasts else IN_MEMORY
        )

    def client_state_lost(self, last_round: int) -> None:
        """Say on a resume that what clients had kept is gone, or look whether each of them has it still."""
        records = self.notes.get(CLIENT_STATE)
        if not records:
            return
        if self.notes.get(STATE_LASTS):
            self.phases.shown.expect(set(self.notes.get(STATE_PARTITIONS, ())))
            return
        log(
            WARNING,
            "the state that clients had kept is lost with the run before: it starts empty, and the training "
            "does not end as one that never stopped context.state=%s",
            ",".join(records),
        )
        self._record(ClientStateLost, last_round, records=tuple(records))

    def _tell_lost(self, server_round: int, lost: Mapping[str, str]) -> None:
        records = tuple(self.notes.get(CLIENT_STATE, ()))
        reasons = "; ".join(f"{client}: {reason}" for client, reason in list(lost.items())[:MOST_LOST])
        log(
            WARNING,
            "clients have not got the state that they had: the training does not end as one that never "
            "stopped clients=%d reasons=%s",
            len(lost),
            reasons,
        )
        clients = tuple(lost)[:MOST_LOST]
        self._record(ClientStateLost, server_round, records=records, clients=clients, reason=shown(reasons))

    def _proximal_term(self) -> None:
        """Say once who adds FedProx's term, and what is trained without it."""
        said = self.phases.shown.proximal - self._proximal_told
        self._proximal_told |= said
        if ADDED in said:
            log(INFO, "the proximal term is added to the gradients of the app's optimizers")
        if OWN in said:
            log(INFO, "the proximal term is the app's: it reads proximal-mu, or adds the term itself")
        if UNSEEN in said:
            log(
                WARNING,
                "FL_STRATEGY sends proximal-mu and no step of an optimizer of PyTorch or Keras was seen: "
                "unless the app adds the proximal term itself, it trains as with FedAvg. `oneflower app "
                "check` says which",
            )
        left_out = self.phases.shown.left_out
        if left_out and not self._left_out_told:
            self._left_out_told = True
            log(
                WARNING,
                "clients train arrays that are not in the global model, without a proximal term shapes=%s",
                left_out,
            )

    def _record(self, event: Callable[..., Event], server_round: int, **fields: object) -> None:
        self.phases.record(event(round=server_round, rounds=self.config.num_rounds, **fields))
