"""Flower's legacy server computes the same in each run: clients are sampled and aggregated in their order.

`ServerApp(server_fn=...)` samples from clients in the order in which they were registered, and hands results
to the strategy in the order of a set.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from flwr.server import server
from flwr.server.client_manager import SimpleClientManager
from flwr.server.client_proxy import ClientProxy

from oneflower.flower.v1_25.private import PrivateUse


@contextmanager
def in_order() -> Iterator[None]:
    """Let the legacy server sample and aggregate clients in the order of their ids, for a block."""
    before = server.fit_clients, server.evaluate_clients, SimpleClientManager.sample
    server.fit_clients = _sorted_results(server.fit_clients)
    server.evaluate_clients = _sorted_results(server.evaluate_clients)
    SimpleClientManager.sample = _sorted_clients(SimpleClientManager.sample)  # type: ignore[method-assign]
    try:
        yield
    finally:
        server.fit_clients, server.evaluate_clients, SimpleClientManager.sample = before  # type: ignore[method-assign]


def _sorted_results(exchange: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(exchange)
    def in_order_of_clients(*args: Any, **kwargs: Any) -> Any:
        results, failures = exchange(*args, **kwargs)
        return sorted(results, key=lambda result: _place(result[0].cid)), failures

    return in_order_of_clients


def _sorted_clients(sample: Callable[..., list[ClientProxy]]) -> Callable[..., list[ClientProxy]]:
    @wraps(sample)
    def from_clients_in_order(
        self: SimpleClientManager, num_clients: int, min_num_clients: int | None = None, criterion: Any = None
    ) -> list[ClientProxy]:
        self.wait_for(num_clients if min_num_clients is None else min_num_clients)
        self.clients = dict(sorted(self.clients.items(), key=lambda client: _place(client[0])))
        return sample(self, num_clients, min_num_clients, criterion)

    return from_clients_in_order


def _place(cid: str) -> tuple[int, str]:
    """Return where a client stands; the ids of a grid's clients are numbers."""
    return (int(cid), "") if cid.isdecimal() else (0, cid)


USE = PrivateUse(
    name="legacy-loop",
    why="Sort what Flower's legacy server samples from, and the results that its strategy gets: their order "
    "is that of arrival, and a sum of floats depends on it.",
    sources={
        "flwr.server.server": {"fit_clients": "672383626486", "evaluate_clients": "1d3c6b07023e"},
        "flwr.server.client_manager": {
            "SimpleClientManager.sample": "6fba2ea3f702",
            "SimpleClientManager.wait_for": "efa5c72761f2",
            "SimpleClientManager.register": "a8e26f26d5bc",
        },
        "flwr.server.client_proxy": {"ClientProxy.__init__": "c1c9b2b77261"},
    },
)
