"""The headline of a page: what is trained, and how it stands, in one sentence."""

from oneflower.codes import Phase, text
from oneflower.journal import SupervisorState, TrainingState
from oneflower.journal.state import OwnLoop
from oneflower.monitor.html.markup import Html, el
from oneflower.monitor.text.own_loop import exchanges_text
from oneflower.words import are, counted

STYLES = {
    Phase.FINISHED: "good",
    Phase.FAILED: "bad",
    Phase.INTERRUPTED: "warn",
    Phase.RESTARTING: "warn",
    Phase.SAVING: "bad",
    Phase.WAITING: "warn",
    Phase.NOTHING: "plain",
}
OWN_WORD = frozenset(
    {
        Phase.FINISHED,
        Phase.FAILED,
        Phase.INTERRUPTED,
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


def _word(view: TrainingState) -> str:
    if view.phase is Phase.FAILED and view.supervisor is SupervisorState.GIVEN_UP:
        return "Given up"
    if view.phase in OWN_WORD:
        return text(view.phase).capitalize()
    return "Waiting" if view.phase is Phase.WAITING else "Training"


def _sentence(view: TrainingState) -> str:
    if view.own_loop is not None:
        return _of_loop(view, view.own_loop)
    done = f"round {view.done} of {view.total}"
    because = view.finish.because if view.finish else None
    whole = f"All {view.total} rounds are done" if view.total != 1 else "The only round is done"
    all_done = f"It ended early, after {done}: {because}" if because else whole
    sentences = {
        Phase.NOTHING: _nothing(view),
        Phase.FAILED: f"It stopped after {done}.",
        Phase.INTERRUPTED: f"It does not run. It was ended after {done}; the same command resumes it.",
        Phase.FINISHED: f"{all_done}{_again(view)}.",
        Phase.SAVING: f"All is trained and NOT saved yet: {view.saving}. It is in memory and saved again.",
        Phase.RESTARTING: f"The run was lost after {done}; it is being restarted.",
    }
    if view.phase is Phase.STARTING and not view.total:
        return "No round has begun yet."
    return sentences.get(
        view.phase, f"{view.done} of {counted(view.total, 'round')} {are(view.total)} done{_again(view)}."
    )


def _of_loop(view: TrainingState, loop: OwnLoop) -> str:
    done = exchanges_text(loop)
    if view.phase is Phase.FINISHED:
        return f"The app has finished after {done}. Its model is where the app keeps it."
    ended = {
        Phase.FAILED: "It stopped after",
        Phase.INTERRUPTED: "It does not run. It was ended after",
        Phase.RESTARTING: "The run was lost, and it is being restarted, after",
    }
    return f"{ended.get(view.phase, 'The app sends its messages by itself, so far')} {done}."


def _nothing(view: TrainingState) -> str:
    if view.trouble:
        return f"The journal cannot be read yet: {view.trouble}."
    return "This page fills by itself as soon as a training starts."


def _again(view: TrainingState) -> str:
    if not view.restarts and not view.resumes:
        return ""
    count = max(view.restarts, view.resumes)
    often = {1: "once", 2: "twice"}.get(count, f"{count} times")
    return f"; resumed {often}"
