"""What a variable is: one row of the table that everything else derives from."""

from dataclasses import dataclass
from enum import StrEnum

from oneflower.settings.formats import TextFormat

Value = bool | int | float | str

# No quantity here is larger; Flower carries integers as 64 bits, and sleeps and counters fit well below.
LARGEST = 2**31 - 1


class Kind(StrEnum):
    """The type of a variable, in the words of OpenNebula's USER_INPUTS."""

    NUMBER = "number"
    FLOAT = "number-float"
    BOOLEAN = "boolean"
    LIST = "list"
    TEXT = "text"
    TEXT64 = "text64"
    PASSWORD = "password"  # noqa: S105 - the word of OpenNebula


class Role(StrEnum):
    """The kind of machine that reads a variable."""

    SUPERLINK = "SuperLink"
    SUPERNODE = "SuperNode"
    BOTH = "both"


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
    in_form
        The short form asks for it: what a first deployment needs.
    help
        One line that explains it in the documents, without ``|`` or quotes.
    unit
        Unit of a number, as a plural noun: ``rounds``, ``seconds``.
    minimum, maximum
        Bounds of a number, included unless `exclusive`. Without a maximum, LARGEST is a number's.
    also
        Numbers accepted outside the bounds.
    choices
        Accepted values of a list; they are case-sensitive.
    format
        What a text must look like; ``None`` takes any printable text.
    secret
        The value is never shown.
    run_config_key
        The key in Flower's run-config, or ``None`` where the ServerApp has no need of it.
    strategies
        The strategies that read the variable; empty for all of them.
    use_cases
        The pre-built apps that read the variable; empty for all of them.
    hint
        What else to say when a value is refused.
    """

    name: str
    label: str
    kind: Kind
    default: Value
    role: Role
    help: str
    in_form: bool = False
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    exclusive: bool = False
    also: tuple[int, ...] = ()
    choices: tuple[str, ...] = ()
    format: TextFormat | None = None
    secret: bool = False
    run_config_key: str | None = None
    strategies: tuple[str, ...] = ()
    use_cases: tuple[str, ...] = ()
    hint: str = ""

    @property
    def field(self) -> str:
        """Name of the field in Settings and TrainingConfig."""
        return self.name.removeprefix("FL_").lower()

    @property
    def alias(self) -> str:
        """The second name under which OpenNebula's appliances may send the variable."""
        return f"ONEAPP_{self.name}"

    @property
    def default_text(self) -> str:
        """The default as an operator would write it."""
        return as_text(self.default)

    @property
    def accepted(self) -> str:
        """What is accepted, in words."""
        match self.kind:
            case Kind.BOOLEAN:
                return "YES or NO"
            case Kind.LIST:
                return self.choices[0] if len(self.choices) == 1 else "one of " + ", ".join(self.choices)
            case Kind.TEXT | Kind.TEXT64 | Kind.PASSWORD:
                return self.format.expected if self.format else "printable text"
            case Kind.NUMBER | Kind.FLOAT:
                return self._accepted_number()

    def _accepted_number(self) -> str:
        noun = "a whole number" if self.kind is Kind.NUMBER else "a finite number"
        unit = f" of {self.unit}" if self.unit else ""
        also = "".join(f"{number}, or " for number in self.also)
        if self.maximum is not None:
            between = "strictly between" if self.exclusive else "from"
            joint = "and" if self.exclusive else "to"
            return f"{noun}{unit}, {also}{between} {self.minimum:g} {joint} {as_text(self.maximum)}"
        if self.exclusive:
            return f"{noun}{unit} greater than {self.minimum:g}"
        return f"{noun}{unit}, {also}{self.minimum:g} or more"


def as_text(value: Value) -> str:
    """Write a value the way an operator would: YES and NO, plain numbers, text as it is."""
    if isinstance(value, bool):
        return "YES" if value else "NO"
    return str(value)
