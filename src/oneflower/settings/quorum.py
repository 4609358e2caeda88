"""How many clients a strategy needs to keep its guarantee, and the minimums that follow."""

import math
from collections.abc import Iterator, Mapping

# (multiple of f, constant): n >= 2f+3 (Blanchard et al. 2017), n >= 4f+3 (El Mhamdi et al. 2018).
_BOUNDS = {"Krum": (2, 3), "Bulyan": (4, 3)}
_MORE_CLIENTS_THAN_EXIST = 10**9


def minimum_clients(strategy: str, num_malicious: int) -> int:
    """Return the fewest updates with which `strategy` keeps its guarantee against `num_malicious` clients."""
    multiple, constant = _BOUNDS.get(strategy, (0, 1))
    return multiple * num_malicious + constant


def bound_formula(strategy: str) -> str:
    """Return the bound of a robust strategy as the papers write it, such as ``2f+3``."""
    multiple, constant = _BOUNDS[strategy]
    return f"{multiple}f+{constant}"


def raised_minimums(strategy: str, num_malicious: int, minimums: Mapping[str, int]) -> Iterator[str]:
    """Yield the names in `minimums` whose number of clients is below the bound of `strategy`."""
    bound = minimum_clients(strategy, num_malicious)
    return (name for name, clients in minimums.items() if clients < bound)


def smallest_trimming(beta: float) -> int | None:
    """Return the fewest clients n with floor(beta*n) >= 1, or None where no cluster is that large."""
    if beta * _MORE_CLIENTS_THAN_EXIST < 1:
        return None
    clients = max(1, math.ceil(1 / beta) - 1)
    while math.floor(beta * clients) < 1:
        clients += 1
    return clients
