"""The client whose message this process serves: its partition chooses a GPU, and its errors are completed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from oneflower.flower.api import Context
from oneflower.flower.calls.gpu_memory import give_back, is_out_of_memory, out_of_memory
from oneflower.flower.calls.used_device import forget_device

_current: Context | None = None


@contextmanager
def current_client(context: Context) -> Iterator[None]:
    """Serve one message.

    Raises
    ------
    GpuMemoryError
        In place of an error of the app that says that the memory of its GPU does not suffice.
    """
    global _current  # noqa: PLW0603 - one process serves one message at a time
    before, _current = _current, context
    forget_device()
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        complete = out_of_memory(error)
        give_back(error)
        raise complete.with_traceback(error.__traceback__) from None
    finally:
        _current = before


def is_client() -> bool:
    """Return whether this process serves a message to a client now."""
    return _current is not None


def client_number() -> int:
    """Return the partition of the client whose message is served; 0 where it has none."""
    node: Mapping[str, object] = {} if _current is None else _current.node_config
    number = node.get("partition-id", 0)
    return number if type(number) is int and number >= 0 else 0
