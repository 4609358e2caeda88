"""The clients' GPUs as lines of the status: how many there are, and what is wrong."""

from collections.abc import Iterator
from typing import Final

from oneflower.journal import TrainingState
from oneflower.monitor.state.gpus import gpu_clients
from oneflower.words import counted

MOST_ROWS: Final = 5
NAME_WIDTH: Final = 32


def gpu_rows(state: TrainingState) -> Iterator[tuple[str, str]]:
    """Yield a line with the number and the use of the GPUs, and one for each client in trouble."""
    clients = gpu_clients(state)
    if not clients:
        return
    readings = [each for client in clients for each in client.gpus.readings.values()]
    busy = [each.utilisation for each in readings if each.utilisation is not None]
    use = f", {100 * sum(busy) / len(busy):.0f} % busy" if busy else ""
    yield "gpus", f"{len(readings)} of {counted(len(clients), 'client')}{use}"
    troubled = [(each.client.shown[:NAME_WIDTH], "; ".join(each.troubles[:2])) for each in clients]
    troubled = [(name, words) for name, words in troubled if words]
    for name, words in troubled[:MOST_ROWS]:
        yield "", f"{name}: {words}"
    if len(troubled) > MOST_ROWS:
        yield "", f"and {len(troubled) - MOST_ROWS} more clients in trouble"
