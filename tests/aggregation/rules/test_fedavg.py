"""FedAvg."""

import numpy as np

from ..conftest import RULES, random_updates, updates


def test_clients_count_by_their_examples():
    given = updates(np.array([0.0, 4.0]), np.array([1.0, 0.0]), weights=[1.0, 3.0])
    assert RULES["FedAvg"](given).model["w"].tolist() == [0.75, 1.0]


def test_every_update_is_used():
    given = random_updates(4, 3)
    assert set(RULES["FedAvg"](given).used) == set(given)
