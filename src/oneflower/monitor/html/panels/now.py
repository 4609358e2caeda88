"""What is it doing now: the round, the phase, who has answered, and what the supervisor is at."""

from collections import Counter
from collections.abc import Sequence

from oneflower.codes import Phase, text
from oneflower.journal import TrainingState
from oneflower.monitor.html.markup import Html, el, join, moment, note
from oneflower.monitor.html.panel import ON_DASHBOARD, Panel
from oneflower.monitor.state.standing import SIGNS, Standing, standing
from oneflower.monitor.state.supervision import Supervision, supervision
from oneflower.monitor.text.own_loop import exchanges_text
from oneflower.monitor.text.values import saving_text, waiting_text
from oneflower.words import counted, have

# So many signs fit into two or three lines; more of them are drawn smaller.
MANY = 48
IDLE = {
    Phase.NOTHING: "No event has been written yet.",
    Phase.STARTING: "The training is being started; no round runs yet.",
    Phase.FINISHED: "The training has finished.",
    Phase.FAILED: "The training has stopped.",
    Phase.INTERRUPTED: "The training does not run: the same command resumes it.",
}


def doing(view: TrainingState) -> Html:
    """Return the round that runs with its phase and a sign for every client, and the supervisor below it."""
    supervisor = supervision(view)
    return join([_training(view), None if supervisor is None else _supervisor(supervisor)])


def _training(view: TrainingState) -> Html:
    if view.trouble and not view.events:
        return note("The journal has not been read yet.")
    if view.phase is Phase.WAITING and view.waiting:
        return el("p", f"Waiting for clients: {waiting_text(view.waiting)}.")
    if view.phase is Phase.SAVING and view.saving:
        return el("p", f"Saving {saving_text(view.saving)}.")
    if view.phase is Phase.RESTARTING:
        return note(f"The run was lost and is being restarted; it {_from(view)}.")
    if view.phase in IDLE or not view.started_round:
        return _idle(view)
    stands = [(client.shown, standing(view, client)) for client in view.roster.values()]
    here = [(name, stand) for name, stand in stands if stand is not Standing.GONE]
    return join([_round(view), _steps(view), _answers(view), _signs(here)])


def _idle(view: TrainingState) -> Html:
    if view.own_loop is not None and view.phase is Phase.TRAINING:
        return el("p", f"{exchanges_text(view.own_loop)}, so far.")
    return note(IDLE.get(view.phase, IDLE[Phase.STARTING]))


def _from(view: TrainingState) -> str:
    if view.own_loop is not None and view.own_loop.path is not None:
        return "gets the recorded replies again"
    if view.own_loop is not None:
        return "starts from the beginning"
    return (
        f"resumes after round {view.saved.number}, its newest checkpoint"
        if view.saved
        else "starts from round 1"
    )


def _supervisor(supervisor: Supervision) -> Html:
    """Return the supervisor's state, what it does or waits for, why, and what it has been through."""
    when = (", since ", moment(supervisor.since)) if supervisor.since else ()
    if supervisor.next_try is not None:
        when = (", due ", el("span", moment(supervisor.next_try), class_="due"))
    return el(
        "div",
        el("h3", "Supervisor"),
        el(
            "p",
            el("span", text(supervisor.state), class_=f"state {supervisor.style}"),
            " ",
            supervisor.doing,
            *when,
        ),
        el("p", f"{supervisor.label}: {supervisor.reason}", class_="none") if supervisor.reason else None,
        el("p", f"{supervisor.restarts[:1].upper()}{supervisor.restarts[1:]}.", class_="none"),
        class_="supervisor",
    )


def _round(view: TrainingState) -> Html:
    attempt = f", attempt {view.attempt}" if view.attempt > 1 else ""
    return el(
        "p",
        el("b", f"Round {view.started_round} of {view.total}{attempt}"),
        ", started ",
        moment(view.round_began),
    )


def _steps(view: TrainingState) -> Html:
    """Return the steps of a round with the present one marked."""
    steps = {Phase.TRAINING: "training", Phase.EVALUATING: "evaluating", Phase.BETWEEN: "done"}
    present = list(steps).index(view.phase) if view.phase in steps else -1
    items = [
        el(
            "li",
            name,
            class_="past" if index < present else "present" if index == present else None,
            aria_current="step" if index == present else None,
        )
        for index, name in enumerate(steps.values())
    ]
    return el("ol", *items, class_="steps", aria_label="Steps of a round")


def _answers(view: TrainingState) -> Html:
    if view.phase is Phase.EVALUATING:
        return el(
            "p",
            f"{counted(len(view.evaluated), 'client')} {have(len(view.evaluated))} evaluated the new model.",
        )
    return el(
        "p",
        f"{view.replies} of {counted(view.clients, 'client')} {have(view.clients)} answered with an update.",
    )


def _signs(stands: Sequence[tuple[str, Standing]]) -> Html | None:
    if not stands:
        return None
    found = Counter(stand for _, stand in stands)
    words = ", ".join(f"{found[stand]} {stand}" for stand in Standing if found[stand])
    order = list(Standing)
    signs = [
        el("span", SIGNS[stand], class_=f"chip {_style(stand)}", title=f"client {name}: {stand}")
        for name, stand in sorted(stands, key=lambda item: (order.index(item[1]), item[0]))
    ]
    style = "chips many" if len(signs) > MANY else "chips"
    return join(
        [el("div", *signs, class_=style, role="img", aria_label=words), el("p", words, class_="none")]
    )


def _style(stand: Standing) -> str:
    return stand.name.lower().replace("_", "-")


PANELS = (
    Panel(id="doing", heading="Now", place=10, pages=ON_DASHBOARD, render=lambda shown: doing(shown.state)),
)
