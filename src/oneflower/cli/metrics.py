"""`oneflower metrics`: a training's metrics in Prometheus' text form, once."""

import sys
from datetime import UTC, datetime

from oneflower.cli.sources import (
    JournalOption,
    PathArgument,
    StateOption,
    missing_extra,
    read_training,
    source_of,
)


def metrics(path: PathArgument = None, *, state: StateOption = None, journal: JournalOption = None) -> None:
    """Print a training's metrics once, for a look or for node_exporter's textfile folder.

    A running training is better scraped at /metrics of `oneflower dashboard`.
    """
    try:
        from oneflower.monitor.metrics import exposition  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise missing_extra("oneflower metrics", "dashboard", error) from error
    view, safety = read_training(source_of(path, state, journal), prove=False)
    sys.stdout.write(exposition(view, safety, datetime.now(UTC)).decode())
