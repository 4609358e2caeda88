"""The container image of a framework: refused before anything is written where the machine has none."""

from oneflower.errors import SettingsError
from oneflower.opennebula.appliance.commands import Commands, succeeds
from oneflower.opennebula.appliance.units import DOCKER
from oneflower.opennebula.roles import IMAGES, Machine
from oneflower.settings import Settings


def check_image(machine: Machine, settings: Settings, commands: Commands) -> None:
    """Look for the image of ML_FRAMEWORK; nothing is pulled. PyTorch's is a part of each disk image.

    Raises
    ------
    SettingsError
        It is not on this machine.
    """
    name = machine.image_of(settings.framework)
    if name == machine.container_image or succeeds(commands, [DOCKER, "image", "inspect", name]):
        return
    raise SettingsError(
        f"the framework is {settings.framework} (ML_FRAMEWORK, or the app of FL_USE_CASE), and the image "
        f"{name} is not on this machine: expected a disk image that was built with it. Build one with "
        f"FRAMEWORKS='pytorch {IMAGES[settings.framework]}' before install.sh, or docker load the image here"
    )
