"""The variables that decide the model of a training: app, strategy, and how many clients take part."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from oneflower.aggregation import PreAggregation
from oneflower.settings.derived import Derived
from oneflower.settings.formats import ABSOLUTE_PATH
from oneflower.settings.strategy_rows import APP_STRATEGY, STRATEGIES, default_parameters
from oneflower.settings.use_cases import NO_USE_CASE, USE_CASES
from oneflower.settings.values import Choice, Decimal, Integer, Text
from oneflower.settings.variable import RUN_CONFIG, Consumer, Effect, Role, variable


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings(Derived):
    """The first fields of `TrainingConfig`, in the order of the forms."""

    use_case: str = variable(
        name="FL_USE_CASE",
        label="Use case (pre-built app)",
        kind=Choice(USE_CASES),
        default=NO_USE_CASE,
        role=Role.BOTH,
        consumers=Consumer.SERVERAPP | Consumer.SUPERVISOR | Consumer.CONTAINER,
        effect=Effect.MODEL,
        in_form=True,
        help="Pre-built app to train; none starts the cluster without an app, for one of your own",
    )
    base_model: str = variable(
        name="FL_BASE_MODEL",
        label="Base model folder (llm-fine-tuning)",
        kind=Text(ABSOLUTE_PATH),
        default="/app/models",
        role=Role.BOTH,
        consumers=RUN_CONFIG | Consumer.CONTAINER,
        effect=Effect.MODEL,
        use_cases=("llm-fine-tuning",),
        help="Folder of the language model to fine-tune, or the folder that contains it",
    )
    num_rounds: int = variable(
        name="FL_NUM_ROUNDS",
        label="Number of rounds",
        kind=Integer(minimum=1, unit="rounds"),
        default=3,
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP | Consumer.SUPERVISOR,
        effect=Effect.ENDING,
        key="num-server-rounds",
        in_form=True,
        help="Rounds of the whole training, including those before a resume",
    )
    strategy: str = variable(
        name="FL_STRATEGY",
        label="Aggregation strategy",
        kind=Choice((APP_STRATEGY, *STRATEGIES)),
        default=APP_STRATEGY,
        role=Role.SUPERLINK,
        consumers=RUN_CONFIG,
        effect=Effect.MODEL,
        in_form=True,
        help="Strategy that aggregates the updates; app keeps the one that the app builds, else FedAvg",
    )
    pre_aggregation: str = variable(
        name="FL_PRE_AGGREGATION",
        label="Mixing before the rule",
        kind=Choice(tuple(each.value for each in PreAggregation)),
        default="none",
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.MODEL,
        help="Means in place of updates before a robust rule: of the nearest (NNM), or of two (bucketing)",
    )
    streaming_mean: str = variable(
        name="FL_STREAMING_MEAN",
        label="Sum updates as they come",
        kind=Choice(("auto", "YES", "NO")),
        default="auto",
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.MODEL,
        help="Add each update to sums when it comes, not all at the end; auto does where updates are large",
    )
    min_fit_clients: int = variable(
        name="FL_MIN_FIT_CLIENTS",
        label="Minimum clients per training round",
        kind=Integer(minimum=1, unit="clients"),
        default=2,
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.MODEL,
        in_form=True,
        help="Valid updates that a round needs (its quorum)",
    )
    min_evaluate_clients: int = variable(
        name="FL_MIN_EVALUATE_CLIENTS",
        label="Minimum clients per evaluation",
        kind=Integer(unit="clients"),
        default=2,
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.MODEL,
        in_form=True,
        help="Clients that must evaluate the model of a round; 0 switches client evaluation off",
    )
    min_available_clients: int = variable(
        name="FL_MIN_AVAILABLE_CLIENTS",
        label="Clients required to start",
        kind=Integer(minimum=1, unit="clients"),
        default=2,
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.MODEL,
        in_form=True,
        help="Clients that must be connected before a round starts",
    )
    clients_per_round: int = variable(
        name="FL_CLIENTS_PER_ROUND",
        label="Clients drawn per round",
        kind=Integer(unit="clients"),
        default=0,
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.MODEL,
        help="Clients drawn by seed and round to train in it; 0 trains all that are connected",
    )
    evaluate_clients_per_round: int = variable(
        name="FL_EVALUATE_CLIENTS_PER_ROUND",
        label="Clients drawn per evaluation",
        kind=Integer(unit="clients"),
        default=0,
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.MODEL,
        help="Clients drawn by seed and round to evaluate its model; 0 asks all that are connected",
    )
    oversampling: float = variable(
        name="FL_OVERSAMPLING",
        label="Share drawn in addition",
        kind=Decimal(maximum=10.0),
        default=0.0,
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.MODEL,
        help="Clients drawn to train beyond FL_CLIENTS_PER_ROUND, as a share of it, in case some are late",
    )
    parameters: Mapping[str, float] = field(default_factory=default_parameters)
    """The parameters of all strategies, numbers by the field of their rows (`strategy_rows`)."""
    operator_set: frozenset[str] = field(default=frozenset(), compare=False)
    """The names of the variables in the run-config that the operator set; the others have their defaults."""
    update_norm_bound: float = variable(
        name="FL_UPDATE_NORM_BOUND",
        label="Change bound (times median)",
        kind=Decimal(minimum=1.0, also=(0.0,)),
        default=10.0,
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.MODEL,
        help="Largest change of the model by one client, in medians of the round; 0 switches the bound off",
    )
    max_client_weight: float = variable(
        name="FL_MAX_CLIENT_WEIGHT",
        label="Weight bound (times median)",
        kind=Decimal(minimum=1.0, also=(0.0,)),
        default=20.0,
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.MODEL,
        help="Largest weight of one client, in medians of num-examples; 0 switches the bound off",
    )
