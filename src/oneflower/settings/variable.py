"""What a variable is: one row of the table, declared as a field of TrainingConfig or Settings."""

from dataclasses import dataclass, field
from enum import Flag, StrEnum, auto
from typing import Any, TypeVar

from oneflower.settings.formats import TextFormat
from oneflower.settings.values import Choice, Kind, T, Text, Value, as_text

_Number = TypeVar("_Number", int, float)

MASK = "********"
ROW = "variable"
"""Where a dataclass field keeps its row: ``field.metadata[ROW]``."""


class Role(StrEnum):
    """The kind of machine on which an operator sets a variable."""

    SUPERLINK = "SuperLink"
    SUPERNODE = "SuperNode"
    BOTH = "both"


class Consumer(Flag):
    """Who reads a variable; that says how the value gets there.

    SUPERLINK, SUPERNODE
        The process and the programs that it starts, in their environment.
    SERVERAPP, CLIENTAPP
        The app, in Flower's run-config. The supervisor writes it and therefore needs the variable as well.
    SUPERVISOR
        `oneflower supervise`, in its environment: it checks the SuperLink's settings together, uses some, and
        writes all of them to the report.
    CONTAINER
        Who starts the processes (`oneflower appliance`, `oneflower up`): arguments, ports, mounts and files.
    NONE
        It is only checked.
    """

    NONE = 0
    SUPERLINK = auto()
    SUPERNODE = auto()
    SERVERAPP = auto()
    CLIENTAPP = auto()
    SUPERVISOR = auto()
    CONTAINER = auto()

    @property
    def labels(self) -> list[str]:
        """The names, as Flower spells them."""
        return [_CONSUMERS[member] for member in self]


_CONSUMERS = {
    Consumer.SUPERLINK: "SuperLink",
    Consumer.SUPERNODE: "SuperNode",
    Consumer.SERVERAPP: "ServerApp",
    Consumer.CLIENTAPP: "ClientApp",
    Consumer.SUPERVISOR: "supervisor",
    Consumer.CONTAINER: "container",
}
RUN_CONFIG = Consumer.SERVERAPP | Consumer.CLIENTAPP
# A run-config comes from the SuperLink, and the environment of a SuperNode from its own machine.
_OF_MACHINE = {
    Role.SUPERLINK: ~Consumer.SUPERNODE,
    Role.SUPERNODE: Consumer.SUPERNODE | Consumer.CONTAINER,
    Role.BOTH: ~Consumer.NONE,
}


class Effect(StrEnum):
    """What a run-config key decides: the model, when the training ends, or how it is run and kept."""

    MODEL = "model"
    ENDING = "ending"
    OPERATION = "operation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One contextualization variable.

    Attributes
    ----------
    name
        As the operator writes it: ``FL_NUM_ROUNDS``.
    label
        Two to five words that name it in a form, without ``|`` or quotes, so that they fit a USER_INPUTS
        string. A parameter of a strategy says of which one.
    role
        The machine on which it is set.
    consumers
        Who reads it.
    help
        One line that explains it in the documents, without ``|`` or quotes.
    effect
        Of a variable in the run-config: what it decides. None for all others.
    key
        The key in the run-config, where it is not `field` with dashes.
    in_form
        The short form asks for it: what a first deployment needs.
    secret
        The value is never shown.
    needs
        The YES/NO variable without which it has no effect.
    strategies
        The strategies of which it is a parameter; empty for all other variables.
    use_cases
        The pre-built apps that read the variable; empty for all of them.
    hint
        What else to say when a value is refused.
    """

    name: str
    label: str
    kind: Kind[Any]
    default: Value
    role: Role
    consumers: Consumer
    help: str
    effect: Effect | None = None
    key: str = ""
    in_form: bool = False
    secret: bool = False
    needs: str = ""
    strategies: tuple[str, ...] = ()
    use_cases: tuple[str, ...] = ()
    hint: str = ""

    def __post_init__(self) -> None:
        """Refuse a row that contradicts itself: its value would not arrive, or nobody would compare it."""
        if self.consumers & ~_OF_MACHINE[self.role]:
            raise ValueError(f"{self.name}: the role {self.role} does not reach {self.consumers!r}")
        if (self.effect is not None) != self.travels:
            raise ValueError(f"{self.name}: variables in the run-config have an effect, and no others")

    @property
    def field(self) -> str:
        """Name of its field in Settings and TrainingConfig, or of its strategy parameter."""
        return self.name.removeprefix("FL_").lower()

    @property
    def alias(self) -> str:
        """The second name under which OpenNebula's appliances may send the variable."""
        return f"ONEAPP_{self.name}"

    @property
    def travels(self) -> bool:
        """Whether it is in Flower's run-config."""
        return bool(self.consumers & RUN_CONFIG)

    @property
    def run_config_key(self) -> str | None:
        """The key in Flower's run-config, or None where the app has no need of it."""
        return (self.key or self.field.replace("_", "-")) if self.travels else None

    @property
    def default_text(self) -> str:
        """The default as an operator would write it."""
        return as_text(self.default)

    @property
    def accepted(self) -> str:
        """What is accepted, in words."""
        return self.kind.accepted

    @property
    def choices(self) -> tuple[str, ...]:
        """The accepted words of a choice; empty for every other kind."""
        return self.kind.choices if isinstance(self.kind, Choice) else ()

    @property
    def example(self) -> str:
        """An example of a value: the default, else the format's own example, else empty."""
        return self.default_text or (self._format.example if self._format else "")

    @property
    def command(self) -> str:
        """A command that prints a value, where there is no example that everybody may use."""
        return self._format.command if self._format else ""

    @property
    def _format(self) -> TextFormat | None:
        return self.kind.format if isinstance(self.kind, Text) else None

    def parse(self, text: str) -> Value:
        """Parse what an operator wrote; ValueError says why it is refused."""
        value: Value = self.default if text == self.default == "" else self.kind.parse(text)
        return value

    def check(self, value: object) -> Value:
        """Check a value that is typed already; ValueError says why it is refused."""
        checked: Value = self.default if value == self.default == "" else self.kind.check(value)
        return checked

    def masked(self, value: Value) -> Value:
        """Return what may be shown of a value."""
        return MASK if self.secret and value else value


def variable(name: str, *, kind: Kind[T], default: T, **columns: Any) -> T:
    """Declare a variable as a dataclass field; the field's type is that of `kind`."""
    row = Variable(name=name, kind=kind, default=default, **columns)
    return field(default=default, repr=not row.secret, metadata={ROW: row})


def strategy_variable(  # noqa: PLR0913 - one parameter a column
    name: str,
    *,
    kind: Kind[_Number],
    default: _Number,
    label: str,
    help: str,  # noqa: A002 - the name of the column
    strategies: tuple[str, ...],
) -> Variable:
    """Return the row of a strategy's parameter: a value of `TrainingConfig.parameters`, not a field."""
    return Variable(
        name=name,
        kind=kind,
        default=default,
        label=label,
        help=help,
        strategies=strategies,
        role=Role.SUPERLINK,
        consumers=Consumer.SERVERAPP,
        effect=Effect.MODEL,
        in_form=True,
    )
