"""The two kinds of machine of a cluster, as OpenNebula knows them."""

from enum import StrEnum

from oneflower.settings import TABLE, Consumer, Role, Variable


class Machine(StrEnum):
    """A role of the service; the value is the role's name in OneFlow and on the command line."""

    SUPERLINK = "superlink"
    SUPERNODE = "supernode"

    @property
    def role(self) -> Role:
        """The same as the variable table says it."""
        return Role.SUPERLINK if self is Machine.SUPERLINK else Role.SUPERNODE

    @property
    def consumer(self) -> Consumer:
        """Its Flower process, which hands its environment on to the programs that it starts."""
        return Consumer.SUPERLINK if self is Machine.SUPERLINK else Consumer.SUPERNODE

    @property
    def label(self) -> str:
        """The name in a sentence."""
        return self.role.value

    def variables(self) -> tuple[Variable, ...]:
        """Return the variables that this machine reads, in the order of the table."""
        return tuple(variable for variable in TABLE if variable.role in (self.role, Role.BOTH))
