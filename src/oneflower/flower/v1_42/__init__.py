"""What is written for Flower 1.42.0 alone: its names for training, simulation and `app check`.

The deployment needs more (`oneflower.flower.v1_25`). Importing anything here checks the installed version
first; the rest of oneflower comes in through `oneflower.flower.door` and `oneflower.flower.api`.
"""

from oneflower.flower.version import check_room

check_room(__name__)
