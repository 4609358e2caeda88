"""A strategy's parameters: numbers that an operator may set."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

Number = TypeVar("Number", int, float)

Values = Mapping[str, float]
"""The value of each parameter, by the parameter's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter(Generic[Number]):
    """A number that an operator may set for one strategy or for several.

    Attributes
    ----------
    name
        Its name in Python: ``server_lr`` is the variable ``FL_SERVER_LR``, the run-config key ``server-lr``.
    default
        Its type is the parameter's: an int is a whole number.
    minimum, maximum
        Bounds, included unless `exclusive`.
    label, help
        Two to five words for a form, and one line for the documents; neither names a strategy.
    client_key
        The key under which the clients are sent the value; empty where it stays on the server.
    """

    name: str
    default: Number
    minimum: Number
    label: str
    help: str
    maximum: Number | None = None
    exclusive: bool = False
    unit: str = ""
    client_key: str = ""

    @property
    def variable(self) -> str:
        """Name of the FL_* variable."""
        return f"FL_{self.name.upper()}"

    @property
    def key(self) -> str:
        """Key in Flower's run-config."""
        return self.name.replace("_", "-")

    def of(self, values: Values) -> Number:
        """Return the parameter's value with its type."""
        return type(self.default)(values[self.name])

    def in_bounds(self, value: float) -> bool:
        """Return whether a strategy may have this value."""
        low, high = self.minimum, self.maximum
        if self.exclusive:
            return low < value and (high is None or value < high)
        return low <= value and (high is None or value <= high)

    @property
    def bounds(self) -> str:
        """The bounds in words."""
        low = f"{'above' if self.exclusive else 'of at least'} {self.minimum:g}"
        if self.maximum is None:
            return f"a number {low}"
        return f"a number {low} and {'below' if self.exclusive else 'at most'} {self.maximum:g}"


AnyParameter = Parameter[int] | Parameter[float]

NUM_MALICIOUS = Parameter(
    name="num_malicious",
    default=0,
    minimum=0,
    unit="clients",
    label="Expected malicious clients",
    help="Malicious clients f to tolerate",
)
"""A quarantined client is one of these, and the bound of a robust rule is a function of them."""
