"""FedProx: FedAvg on the server, a proximal term in the loss of the clients."""

from oneflower.aggregation.parameter import Parameter, Values
from oneflower.aggregation.rules.fedavg import apply
from oneflower.aggregation.spec import Family, StrategySpec

PROXIMAL_MU = Parameter(
    name="proximal_mu",
    default=1.0,
    minimum=0.0,
    client_key="proximal-mu",
    label="Proximal term weight",
    help="Weight mu of the proximal term in the loss of the clients; 0 is FedAvg",
)


def advice(values: Values, _clients: int) -> str | None:
    """Say where the proximal term is switched off."""
    if PROXIMAL_MU.of(values):
        return None
    return f"{PROXIMAL_MU.variable} is 0: FedProx without its proximal term is FedAvg"


SPEC = StrategySpec(
    name="FedProx",
    family=Family.MEAN,
    summary="A proximal term keeps the clients near the global model; for data that differ between nodes",
    source="Li et al. 2020, equation 2",
    apply=apply,
    weights_by_examples=True,
    parameters=(PROXIMAL_MU,),
    example_values={"proximal_mu": 0.1},
    advice=advice,
    advice_help="FL_PROXIMAL_MU is 0, which is FedAvg",
)
