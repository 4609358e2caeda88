"""Is it going well: the numbers that matter, each with what it is to be compared with."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from oneflower.codes import STOPPED, Phase
from oneflower.journal import TrainingState
from oneflower.journal.state import OwnLoop
from oneflower.monitor.html.markup import Html, el, join, moment
from oneflower.monitor.html.panel import Panel
from oneflower.monitor.state.safety import Proof, Safety
from oneflower.monitor.text.values import best_name, duration, headline_of, metric_text, size
from oneflower.words import counted


def tiles(view: TrainingState, safety: Safety, now: datetime) -> Html:
    """Return the numbers that matter, each with what it is to be compared with."""
    if view.own_loop is not None:
        return el("dl", *_of_loop(view.own_loop), class_="tiles")
    shown = [_progress(view)]
    metrics = headline_of(view, view.done)
    # The qualities first, for they are what people compare; False sorts before True.
    shown += [_measure(view, name) for name in sorted(metrics, key=lambda name: name == "loss")]
    shown += _decisive(view, metrics)
    shown += [_time_left(view, now), _safe(view, safety)]
    return el("dl", *shown, class_="tiles")


def _of_loop(loop: OwnLoop) -> Iterator[Html]:
    yield _tile("Exchanges done", str(loop.exchanges), f"{counted(loop.messages, 'message')} of the app")
    yield _tile("Replies", str(loop.replies))
    lost = loop.failed + loop.quarantined
    below = f"{loop.failed} failed, {loop.quarantined} quarantined" if lost else None
    yield _tile("Left out", str(lost), below, style="warn" if lost else "")
    if loop.path is None:
        yield _tile("Work saved", "nothing", "a crash starts it from the beginning", style="warn")
    else:
        yield _tile("Work saved", size(loop.size_bytes), "of recorded replies")


def _tile(name: str, value: str | Html, *below: str | None, style: str = "") -> Html:
    small = [el("dd", part, class_="below") for part in below if part]
    return el("div", el("dt", name), el("dd", value), *small, class_=f"tile {style}".strip())


def _progress(view: TrainingState) -> Html:
    share = 100 * view.done / view.total if view.total else 0
    bar = el(
        "svg",
        el("rect", class_="track", width="100%", height="6", rx="3"),
        el("rect", class_="fill", width=f"{share:.1f}%", height="6", rx="3"),
        class_="progress",
        aria_hidden="true",
    )
    of = el("small", f" of {view.total or '-'}")
    return _tile("Rounds done", join([str(view.done), of]), bar)


def _measure(view: TrainingState, name: str) -> Html:
    value = headline_of(view, view.done)[name]
    return _tile(
        name.replace("_", " ").capitalize(), metric_text(value), _change(view, name, value), _best(view, name)
    )


def _decisive(view: TrainingState, shown: Mapping[str, float]) -> Iterator[Html]:
    """Yield the tile of the metric that decides which round is the best, where no other has it."""
    best = view.best()
    name = best_name(view, best.metric) if best else ""
    if best and name not in shown:
        value = view.rounds[view.done].metrics.get(best.metric) if view.rounds else None
        last = "-" if value is None else metric_text(value)
        yield _tile(f"{name[:1].upper()}{name[1:]}", last, _best(view, name))


def _change(view: TrainingState, name: str, value: float) -> str | None:
    before = headline_of(view, view.done - 1).get(name)
    if before is None:
        return None
    sign = "▲" if value > before else "▼" if value < before else "="
    return f"{sign} {metric_text(abs(value - before))} since round {view.done - 1}"


def _best(view: TrainingState, name: str) -> str | None:
    best = view.best()
    if best is None or best_name(view, best.metric) != name:
        return None
    if best.round == view.done:
        return "the best so far"
    return f"best {metric_text(best.value)} in round {best.round}"


def _time_left(view: TrainingState, now: datetime) -> Html:
    spent = sum(result.seconds for result in view.rounds.values())
    pace = f"{view.rounds[view.done].seconds:.1f} s for the last round" if view.rounds else None
    if view.phase in STOPPED:
        return _tile("Time in rounds", duration(spent), pace)
    left_s = view.left_s()
    if left_s is None:
        return _tile("Time left", "-", "known after the first round")
    end = moment(now + timedelta(seconds=left_s))
    return _tile(
        "Time left", duration(left_s), join(["done at about ", el("span", end, class_="clock")]), pace
    )


def _safe(view: TrainingState, safety: Safety) -> Html:
    newest = safety.newest
    if newest is None:
        return _tile("Work saved", "nothing yet" if view.rounds else "-", style="warn" if view.rounds else "")
    sign = "✓ " if newest.proof is Proof.VERIFIED else ""
    saved = join([f"{sign}{newest.proof}, saved ", moment(newest.time)])
    return _tile("Work saved", f"round {newest.number}", saved, _at_risk(view, newest.number))


def _at_risk(view: TrainingState, saved: int) -> str | None:
    if view.phase is Phase.FINISHED:
        return None
    lost = view.done - saved
    if view.phase is Phase.INTERRUPTED:
        return f"{counted(lost, 'round')} to train again" if lost > 0 else None
    return f"a crash now would cost {lost} {'round' if lost == 1 else 'rounds'}" if lost > 0 else None


PANELS = (
    Panel(id="tiles", heading="", place=30, render=lambda shown: tiles(shown.state, shown.safety, shown.now)),
)
