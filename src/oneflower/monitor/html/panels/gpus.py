"""The clients' GPUs: what they measured last, those in trouble first."""

from collections.abc import Sequence
from typing import Final

from oneflower.gpu.readings import Reading
from oneflower.journal import TrainingState
from oneflower.monitor.html.markup import Html, el, join, note, table
from oneflower.monitor.html.panel import Panel
from oneflower.monitor.html.panels.clients import who
from oneflower.monitor.state.gpus import GpuClient, gpu_clients, memory_share
from oneflower.monitor.text.values import size
from oneflower.words import are, counted

MOST_SHOWN: Final = 24
HEADS: Final = ("Client", "GPU", "Trains on", "Busy", "Memory", "Temperature", "Power", "Needs attention")

Row = tuple[Html | str, ...]


def gpus(view: TrainingState) -> Html:
    """Return the GPUs as a card with a table; nothing where no client said anything of a GPU."""
    clients = gpu_clients(view)
    if not clients:
        return Html("")
    rows = [row for each in clients[:MOST_SHOWN] for row in _rows(each)]
    more = max(0, len(rows) - MOST_SHOWN), max(0, len(clients) - MOST_SHOWN)
    content = [
        el("p", _sentence(clients)),
        table("GPUs", HEADS, rows[:MOST_SHOWN], class_="gpus"),
        note(_more(*more)) if any(more) else None,
    ]
    return el("section", el("h2", "GPUs"), join(content), class_="card wide")


def _sentence(clients: Sequence[GpuClient]) -> str:
    found = sum(len(each.gpus.readings) for each in clients)
    troubled = sum(bool(each.troubles) for each in clients)
    wrong = f"; {counted(troubled, 'client')} {are(troubled)} in trouble" if troubled else ""
    return f"{counted(found, 'GPU')} of {counted(len(clients), 'client')}, as of the last replies{wrong}."


def _more(rows: int, clients: int) -> str:
    words = [f"{counted(rows, 'GPU')} more"] if rows else []
    words += [f"{counted(clients, 'client')} more"] if clients else []
    return f"Not shown: {' and '.join(words)}. The JSON has all."


def _rows(each: GpuClient) -> list[Row]:
    """Return a row for each GPU of a client; one for a client that has none."""
    troubled = [place for place in each.gpus.xids if place not in each.gpus.readings]
    places = sorted([*each.gpus.readings, *troubled], key=lambda place: not each.wrong(place))
    if not places:
        return [(who(each.client), "", _device(each), "", "", "", "", "")]
    return [_row(each, place, each.gpus.readings.get(place)) for place in places]


def _row(each: GpuClient, place: str, reading: Reading | None) -> Row:
    wrong = each.wrong(place)
    trouble = el("span", f"◆ {', '.join(wrong)}", class_="stand warn") if wrong else ""
    if reading is None:
        return (who(each.client), place, _device(each), "", "", "", "", trouble)
    return (
        who(each.client),
        f"{place}: {reading.name}" if reading.name else place,
        _device(each),
        "" if reading.utilisation is None else f"{100 * reading.utilisation:.0f} %",
        _memory(reading),
        "" if reading.temperature_c is None else f"{reading.temperature_c:.0f} °C",
        "" if reading.power_w is None else f"{reading.power_w:.0f} W",
        trouble,
    )


def _device(each: GpuClient) -> Html | str:
    if each.gpus.on_processor:
        return el("span", "◆ the processor", class_="stand warn")
    return each.gpus.device or "not said"


def _memory(reading: Reading) -> str:
    used, share = reading.memory_used_bytes, memory_share(reading)
    if used is None:
        return ""
    return size(used) if share is None else f"{size(used)} ({100 * share:.0f} %)"


PANELS = (Panel(id="gpus", heading="", place=92, render=lambda shown: gpus(shown.state)),)
