"""The strategies, and a row for each of their parameters."""

from oneflower.settings.values import Decimal, Integer
from oneflower.settings.variable import Variable, strategy_variable

STRATEGIES = ("FedAvg", "FedProx", "FedAdam", "Krum", "Bulyan", "FedTrimmedAvg")

STRATEGY_ROWS: tuple[Variable, ...] = (
    strategy_variable(
        "FL_PROXIMAL_MU",
        kind=Decimal(),
        default=1.0,
        label="FedProx proximal term (mu)",
        help="Weight mu of the proximal term in the loss of the clients; 0 is FedAvg",
        strategies=("FedProx",),
    ),
    strategy_variable(
        "FL_SERVER_LR",
        kind=Decimal(exclusive=True),
        default=0.1,
        label="Server learning rate (FedAdam)",
        help="Learning rate eta of the server's optimizer",
        strategies=("FedAdam",),
    ),
    strategy_variable(
        "FL_CLIENT_LR",
        kind=Decimal(exclusive=True),
        default=0.1,
        label="Client learning rate (FedAdam)",
        help="Learning rate eta_l of the clients, sent to them as lr",
        strategies=("FedAdam",),
    ),
    strategy_variable(
        "FL_NUM_MALICIOUS",
        kind=Integer(unit="clients"),
        default=0,
        label="Expected malicious clients (Krum/Bulyan)",
        help="Malicious clients f to tolerate; Krum needs 2f+3 clients, Bulyan 4f+3",
        strategies=("Krum", "Bulyan"),
    ),
    strategy_variable(
        "FL_TRIM_BETA",
        kind=Decimal(maximum=0.5, exclusive=True),
        default=0.2,
        label="Trim fraction per tail (FedTrimmedAvg)",
        help="Fraction of the updates to trim from each tail, coordinate by coordinate",
        strategies=("FedTrimmedAvg",),
    ),
)
