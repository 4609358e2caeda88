"""What is written for Flower 1.25.0 alone: its private names, the workarounds, the warm executor.

Importing anything here checks the installed version first, so that no private name of another Flower is
ever imported. The rest of oneflower comes in through `oneflower.flower.door` and `oneflower.flower.api`.
"""

from oneflower.errors import FlowerVersionError
from oneflower.flower.version import ROOMS, supported_room

if supported_room() != __name__.rpartition(".")[2]:
    raise FlowerVersionError(f"{__name__} is not the folder for the installed Flower: {ROOMS}")
