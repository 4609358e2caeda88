"""Flower's legacy server computes the same in each run: clients are sampled and aggregated in their order.

`ServerApp(server_fn=...)` samples from clients in the order in which they were registered, and hands results
to the strategy in the order of a set. Whether it may train is asked before it begins: what is raised in its
threads is taken for a failure of a client.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from oneflower.flower.door import port


@contextmanager
def in_order(check: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Let the legacy server sample and aggregate clients in the order of their ids, for a block.

    `check` is called before it trains, and raises where it must not.
    """
    server, manager = port.legacy_server, port.SimpleClientManager
    before = server.fit_clients, server.evaluate_clients, manager.sample
    fit = server.Server.fit
    server.Server.fit = _checked(fit, check)  # type: ignore[method-assign]
    # A server of the app's own may have another `fit`.
    server.fit_clients = _checked(_sorted_results(server.fit_clients), check)
    server.evaluate_clients = _sorted_results(server.evaluate_clients)
    manager.sample = _sorted_clients(manager.sample)  # type: ignore[method-assign]
    try:
        yield
    finally:
        server.fit_clients, server.evaluate_clients, manager.sample = before  # type: ignore[method-assign]
        server.Server.fit = fit  # type: ignore[method-assign]


def _checked(function: Callable[..., Any], check: Callable[[], object]) -> Callable[..., Any]:
    @wraps(function)
    def after_the_check(*args: Any, **kwargs: Any) -> Any:
        check()
        return function(*args, **kwargs)

    return after_the_check


def _sorted_results(exchange: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(exchange)
    def in_order_of_clients(*args: Any, **kwargs: Any) -> Any:
        results, failures = exchange(*args, **kwargs)
        return sorted(results, key=lambda result: _place(result[0].cid)), failures

    return in_order_of_clients


def _sorted_clients(sample: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(sample)
    def from_clients_in_order(
        manager: port.SimpleClientManager,
        num_clients: int,
        min_num_clients: int | None = None,
        criterion: Any = None,
    ) -> Any:
        manager.wait_for(num_clients if min_num_clients is None else min_num_clients)
        manager.clients = dict(sorted(manager.clients.items(), key=lambda client: _place(client[0])))
        return sample(manager, num_clients, min_num_clients, criterion)

    return from_clients_in_order


def _place(cid: str) -> tuple[int, str]:
    """Return where a client stands; the ids of a grid's clients are numbers."""
    return (int(cid), "") if cid.isdecimal() else (0, cid)
