"""FedProx."""

from oneflower.aggregation import spec_of

from ..conftest import RULES, random_updates, same_bytes

FEDPROX = spec_of("FedProx")


def test_the_server_averages_as_fedavg_does():
    given = random_updates(5, 100)
    assert same_bytes(RULES["FedProx"](given).model, RULES["FedAvg"](given).model)


def test_the_clients_are_sent_mu():
    assert FEDPROX.to_clients({"proximal_mu": 0.7}) == {"proximal-mu": 0.7}


def test_a_mu_of_zero_is_told_to_be_fedavg():
    assert "FedAvg" in FEDPROX.advice({"proximal_mu": 0.0}, 3)
    assert FEDPROX.advice({"proximal_mu": 0.1}, 3) is None
