"""What is written for Flower 1.25.0 alone: its private names, the workarounds, the warm executor.

Importing anything here checks the installed version first, so that no private name of another Flower is
ever imported. The rest of oneflower comes in through `oneflower.flower.door` and `oneflower.flower.api`.
"""

from oneflower.flower.version import check_room

check_room(__name__)
