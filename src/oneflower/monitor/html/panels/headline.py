"""Is it going well: one line that says how the training stands, and the numbers that matter."""

from datetime import datetime, timedelta

from oneflower.codes import Phase, text
from oneflower.journal import SupervisorState, TrainingState
from oneflower.monitor.html.markup import Html, el, join, moment
from oneflower.monitor.state.safety import Proof, Safety
from oneflower.monitor.text.lines import duration, headline_of, metric_text
from oneflower.quality import label

STYLES = {
    Phase.FINISHED: "good",
    Phase.FAILED: "bad",
    Phase.RESTARTING: "warn",
    Phase.SAVING: "bad",
    Phase.WAITING: "warn",
    Phase.NOTHING: "plain",
}
OWN_WORD = frozenset(
    {
        Phase.FINISHED,
        Phase.FAILED,
        Phase.STARTING,
        Phase.RESTARTING,
        Phase.SAVING,
        Phase.NOTHING,
    }
)


def title(view: TrainingState) -> str:
    """Return what is trained, in one line of text."""
    given = ", ".join(f"{name.replace('-', ' ')} {value}" for name, value in view.parameters.items())
    strategy = f"{view.strategy}{f' ({given})' if given else ''}"
    return " · ".join(filter(None, (view.app, strategy))) or _untitled(view)


def _untitled(view: TrainingState) -> str:
    if view.trouble and not view.events:
        return "Not known yet"
    return "A training whose beginning is not in the journal" if view.rounds else "No training yet"


def headline(view: TrainingState) -> Html:
    """Return the state as a coloured word and a sentence."""
    return el(
        "p",
        el("span", _word(view), class_=f"state {STYLES.get(view.phase, 'live')}"),
        " ",
        _sentence(view),
    )


def tiles(view: TrainingState, safety: Safety, now: datetime | None) -> Html:
    """Return the numbers that matter, each with what it is to be compared with."""
    shown = [_progress(view)]
    metrics = headline_of(view, view.done)
    # The qualities first, for they are what people compare; False sorts before True.
    shown += [_measure(view, name) for name in sorted(metrics, key=lambda name: name == "loss")]
    shown += [_time_left(view, now), _safe(view, safety)]
    return el("dl", *shown, class_="tiles")


def _word(view: TrainingState) -> str:
    if view.phase is Phase.FAILED and view.supervisor is SupervisorState.GIVEN_UP:
        return "Given up"
    if view.phase in OWN_WORD:
        return text(view.phase).capitalize()
    return "Waiting" if view.phase is Phase.WAITING else "Training"


def _sentence(view: TrainingState) -> str:
    done = f"round {view.done} of {view.total}"
    because = view.finish.because if view.finish else None
    all_done = f"It ended early, after {done}: {because}" if because else f"All {view.total} rounds are done"
    sentences = {
        Phase.NOTHING: _nothing(view),
        Phase.FAILED: f"It stopped after {done}.",
        Phase.FINISHED: f"{all_done}{_again(view)}.",
        Phase.SAVING: f"All is trained and NOT saved yet: {view.saving}. It is in memory and saved again.",
        Phase.RESTARTING: f"The run was lost after {done}; it is being started again.",
    }
    if view.phase is Phase.STARTING and not view.total:
        return "No round has begun yet."
    return sentences.get(view.phase, f"{view.done} of {view.total} rounds are done{_again(view)}.")


def _nothing(view: TrainingState) -> str:
    if view.trouble:
        return f"The journal cannot tell yet: {view.trouble}."
    return "This page fills by itself as soon as a training starts."


def _again(view: TrainingState) -> str:
    if not view.restarts and not view.resumes:
        return ""
    count = max(view.restarts, view.resumes)
    often = {1: "once", 2: "twice"}.get(count, f"{count} times")
    return f"; it has come back {often}"


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


def _change(view: TrainingState, name: str, value: float) -> str | None:
    before = headline_of(view, view.done - 1).get(name)
    if before is None:
        return None
    sign = "▲" if value > before else "▼" if value < before else "="
    return f"{sign} {metric_text(abs(value - before))} since round {view.done - 1}"


def _best(view: TrainingState, name: str) -> str | None:
    best = view.best()
    if best is None or label(best.metric) != name:
        return None
    if best.round == view.done:
        return "the best so far"
    return f"best {metric_text(best.value)} in round {best.round}"


def _time_left(view: TrainingState, now: datetime | None) -> Html:
    spent = sum(result.seconds for result in view.rounds.values())
    pace = f"{view.rounds[view.done].seconds:.1f} s for the last round" if view.rounds else None
    if view.phase in (Phase.FINISHED, Phase.FAILED):
        return _tile("Time in rounds", duration(spent), pace)
    left_s = view.left_s()
    if left_s is None or now is None:
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
    return f"a crash now would cost {lost} {'round' if lost == 1 else 'rounds'}" if lost > 0 else None
