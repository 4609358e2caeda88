"""The variables of a training, which travel in Flower's run-config to the ServerApp and the ClientApps."""

from dataclasses import dataclass

from oneflower.settings.formats import ABSOLUTE_FILE, ABSOLUTE_PATH, METRIC, REAL_NUMBER, RESUME
from oneflower.settings.model_settings import ModelSettings
from oneflower.settings.values import Boolean, Choice, Decimal, Integer, Text
from oneflower.settings.variable import RUN_CONFIG, Consumer, Effect, Role, variable


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig(ModelSettings):
    """The settings of one training, with their rows; a field is a variable without ``FL_``, in lower case.

    Resolved `min_fit_clients` and `min_available_clients` are at least what the strategy's guarantee needs.
    """

    checkpoint_enabled: bool = variable(
        name="FL_CHECKPOINT_ENABLED",
        label="Save checkpoints",
        kind=Boolean(),
        default=False,
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP | Consumer.SUPERVISOR | Consumer.CONTAINER,
        effect=Effect.OPERATION,
        in_form=True,
        help="Save checkpoints, from which a training resumes after a crash",
    )
    checkpoint_interval: int = variable(
        name="FL_CHECKPOINT_INTERVAL",
        label="Save checkpoint every N rounds",
        kind=Integer(minimum=1, unit="rounds"),
        default=5,
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.OPERATION,
        needs="FL_CHECKPOINT_ENABLED",
        in_form=True,
        help="Rounds between checkpoints; the last round is always saved",
    )
    checkpoint_path: str = variable(
        name="FL_CHECKPOINT_PATH",
        label="Checkpoint folder (in the container)",
        kind=Text(ABSOLUTE_PATH),
        default="/app/checkpoints",
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP | Consumer.SUPERVISOR | Consumer.CONTAINER,
        effect=Effect.OPERATION,
        needs="FL_CHECKPOINT_ENABLED",
        help="Folder of the checkpoints inside the container",
    )
    checkpoint_keep: int = variable(
        name="FL_CHECKPOINT_KEEP",
        label="Checkpoints to keep",
        kind=Integer(minimum=2, also=(0,), unit="checkpoints"),
        default=3,
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.OPERATION,
        needs="FL_CHECKPOINT_ENABLED",
        help="Newest checkpoints to keep, in addition to the best one; 0 keeps all",
    )
    resume: str = variable(
        name="FL_RESUME",
        label="Resume from checkpoint",
        kind=Text(RESUME),
        default="auto",
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP | Consumer.SUPERVISOR,
        effect=Effect.OPERATION,
        needs="FL_CHECKPOINT_ENABLED",
        help="Resume from the newest checkpoint (auto) or that of a round, or start at round 1 (never)",
    )
    initial_model: str = variable(
        name="FL_INITIAL_MODEL",
        label="Initial model (file)",
        kind=Text(ABSOLUTE_FILE),
        default="",
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.MODEL,
        help="File of weights to start from (.npz, .safetensors, .pt, .pth); empty for those of the app",
    )
    max_update_mb: int = variable(
        name="FL_MAX_UPDATE_MB",
        label="Largest reply of a client",
        kind=Integer(maximum=1_000_000, unit="MB"),
        default=0,
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP | Consumer.SUPERLINK | Consumer.SUPERVISOR,
        effect=Effect.OPERATION,
        help="A larger reply is refused; 0 stands for 64 MB more than twice the size of the model",
    )
    round_timeout: int = variable(
        name="FL_ROUND_TIMEOUT",
        label="Round timeout (seconds)",
        kind=Integer(minimum=1, unit="seconds"),
        default=3600,
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP | Consumer.SUPERVISOR,
        effect=Effect.OPERATION,
        help="Longest time that a phase of a round waits for its clients",
    )
    round_deadline: int = variable(
        name="FL_ROUND_DEADLINE",
        label="Deadline after the quorum (seconds)",
        kind=Integer(unit="seconds"),
        default=0,
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.OPERATION,
        help="Time that a phase of a round waits for more replies after its quorum; 0 measures what is usual",
    )
    round_retries: int = variable(
        name="FL_ROUND_RETRIES",
        label="Further attempts per round",
        kind=Integer(unit="attempts"),
        default=10,
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.OPERATION,
        help="Further attempts of a round below its quorum, and of saving the last round",
    )
    replay: bool = variable(
        name="FL_REPLAY",
        label="Replay recorded exchanges",
        kind=Boolean(),
        default=True,
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.OPERATION,
        needs="FL_CHECKPOINT_ENABLED",
        help="Record the messages of an app with a loop of its own, and replay them after a crash",
    )
    max_replay_mb: int = variable(
        name="FL_MAX_REPLAY_MB",
        label="Largest recording",
        kind=Integer(minimum=1, maximum=100_000_000, unit="MB"),
        default=10_000,
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.OPERATION,
        needs="FL_CHECKPOINT_ENABLED",
        help="Size at which the recording of FL_REPLAY stops; a crash then returns the app to that point",
    )
    proximal_term: str = variable(
        name="FL_PROXIMAL_TERM",
        label="Proximal term",
        kind=Choice(("auto", "app")),
        default="auto",
        role=Role.SUPERLINK,
        consumers=RUN_CONFIG,
        effect=Effect.MODEL,
        help="Add the proximal term for an app that does not (auto), or leave it to the app (app)",
    )
    seed: int = variable(
        name="FL_SEED",
        label="Random seed",
        kind=Integer(maximum=2**32 - 1),
        default=42,
        role=Role.SUPERLINK,
        consumers=RUN_CONFIG,
        effect=Effect.MODEL,
        help="Seed of sampling, initialization and training; equal seeds give equal models",
    )
    best_metric: str = variable(
        name="FL_BEST_METRIC",
        label="Best-model metric",
        kind=Text(METRIC),
        default="",
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.ENDING,
        help="Metric that selects the best round, such as eval_acc or -eval_loss; empty selects it by name",
    )
    early_stop_rounds: int = variable(
        name="FL_EARLY_STOP_ROUNDS",
        label="Early stopping (rounds)",
        kind=Integer(unit="rounds"),
        default=0,
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.ENDING,
        help="Rounds without improvement after which the training ends; 0 switches early stopping off",
    )
    early_stop_delta: float = variable(
        name="FL_EARLY_STOP_DELTA",
        label="Minimum improvement",
        kind=Decimal(),
        default=0.0,
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.ENDING,
        help="Smallest change of FL_BEST_METRIC that counts as an improvement",
    )
    target_metric_value: str = variable(
        name="FL_TARGET_METRIC_VALUE",
        label="Target metric value",
        kind=Text(REAL_NUMBER),
        default="",
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.ENDING,
        help="Value of FL_BEST_METRIC at which the training ends; empty for none",
    )
    log_level: str = variable(
        name="FL_LOG_LEVEL",
        label="Log level",
        kind=Choice(("DEBUG", "INFO", "WARNING", "ERROR")),
        default="INFO",
        role=Role.BOTH,
        consumers=~Consumer.CLIENTAPP,
        effect=Effect.OPERATION,
        help="Lowest severity of the log lines to write",
    )
