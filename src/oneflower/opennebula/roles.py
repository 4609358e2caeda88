"""The two kinds of machine in a cluster: their names, variables and container images."""

from enum import StrEnum
from typing import Final

from oneflower import __version__
from oneflower.settings import TABLE, Consumer, Role, Variable

CONTAINER_UID = 49999
"""User and group of every process in the containers; Flower's own images call it `app`."""

IMAGES: Final = {
    "pytorch": "",
    "tensorflow": "tensorflow",
    "jax": "tensorflow",
    "sklearn": "sklearn",
    "xgboost": "sklearn",
    "any": "sklearn",
}
"""What the container image of each framework is called besides its role; the smallest is for `any`."""


class Machine(StrEnum):
    """A role of the service; the value is the role's name in OneFlow and on the command line."""

    SUPERLINK = "superlink"
    SUPERNODE = "supernode"

    @property
    def role(self) -> Role:
        """The role in the table of variables."""
        return Role.SUPERLINK if self is Machine.SUPERLINK else Role.SUPERNODE

    @property
    def consumer(self) -> Consumer:
        """Its Flower process, which hands its environment on to the programs that it starts."""
        return Consumer.SUPERLINK if self is Machine.SUPERLINK else Consumer.SUPERNODE

    @property
    def label(self) -> str:
        """The name in a sentence."""
        return self.role.value

    @property
    def appliance(self) -> str:
        """The name of the disk image, the VM template and the folder below ``appliances/``."""
        return f"oneflower-{self.value}"

    @property
    def container_image(self) -> str:
        """The container image that is built into the disk image, with PyTorch."""
        return f"{self.appliance}:{__version__}"

    def image_of(self, framework: str) -> str:
        """Return the container image that contains a value of ML_FRAMEWORK."""
        kind = IMAGES[framework]
        return f"{self.appliance}-{kind}:{__version__}" if kind else self.container_image

    def variables(self) -> tuple[Variable, ...]:
        """Return the variables that this machine reads, in the order of the table."""
        return tuple(variable for variable in TABLE if variable.role in (self.role, Role.BOTH))
