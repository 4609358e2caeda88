"""The events of a training and their fields: what `docs/journal.md` documents and readers rely on."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

JOURNAL_SCHEMA: Final = 1


class SupervisorState(StrEnum):
    """Where a supervised training stands: the ``state`` of the event ``supervisor_state``."""

    WAITING = "waiting for the SuperLink"
    SUBMITTING = "submitting"
    TRAINING = "training"
    LOST = "lost"
    BACKING_OFF = "backing off"
    FINISHED = "finished"
    GIVEN_UP = "given up"


EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "training_started": ("round", "rounds", "strategy", "parameters", "app", "best_metric"),
    "training_resumed": ("round", "rounds", "strategy", "parameters", "app", "best_metric"),
    "settings_changed": ("round", "changes"),
    "waiting_for_clients": ("connected", "needed"),
    "parts_assigned": ("round", "members"),
    "round_started": ("round", "rounds", "clients"),
    "reply_received": ("round", "phase", "client", "seconds"),
    "client_quarantined": ("round", "client", "reason"),
    "client_failed": ("round", "client", "reason"),
    "round_failed": ("round", "attempt", "valid", "needed", "reason"),
    "round_aggregated": ("round", "rounds", "valid", "seconds"),
    "round_completed": (
        "round",
        "rounds",
        "valid",
        "seconds",
        "train_metrics",
        "evaluate_metrics",
        "central_metrics",
    ),
    "checkpoint_saved": ("round", "file", "bytes", "seconds", "sha256"),
    "checkpoint_failed": ("round", "reason"),
    "evaluation_unavailable": ("round", "rounds", "reason"),
    "client_state_kept": ("round", "rounds", "records"),
    "client_state_lost": ("round", "rounds", "records"),
    "metric_missing": ("round", "rounds", "metric", "reason"),
    "training_saving": ("round", "rounds", "attempt", "tries", "reason"),
    "training_finished": (
        "round",
        "rounds",
        "strategy",
        "parameters",
        "app",
        "best_metric",
        "sha256",
        "path",
        "stopped",
        "because",
    ),
    "training_failed": (
        "round",
        "rounds",
        "strategy",
        "parameters",
        "app",
        "best_metric",
        "error",
        "kind",
        "reason",
    ),
    "app_failed": ("app", "error", "kind", "reason", "where"),
    "settings_used": ("settings", "environment"),
    "client_joined": ("client", "connected"),
    "client_left": ("client", "connected"),
    "client_named": ("client", "name", "partition"),
    "cluster_started": ("nodes", "fleet"),
    "process_died": ("role", "reason"),
    "process_started": ("role",),
    "process_stalled": ("role", "done", "reason"),
    "supervisor_state": ("state", "reason"),
    "run_submitted": ("run", "app"),
    "run_lost": ("run", "reason", "restarts", "delay_s"),
    "training_gave_up": ("reason", "restarts"),
}
