"""What needs the operator, the gravest first, each with what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from oneflower.codes import STILL, STOPPED, Phase, RefusalCode, text
from oneflower.journal import TrainingState
from oneflower.journal.state import outliers
from oneflower.monitor.html.markup import Html, el
from oneflower.monitor.html.panel import ON_DASHBOARD, Panel
from oneflower.monitor.state.safety import Safety
from oneflower.monitor.state.standing import Standing, standing
from oneflower.monitor.state.supervision import silence_s
from oneflower.monitor.text.outliers import remarks
from oneflower.monitor.text.values import duration, journal_problems, saving_text, size, waiting_text

# So many more checkpoints must fit on the disk.
CHECKPOINTS_AHEAD = 3


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that is wrong. ``style`` is bad or warn."""

    style: str
    what: str
    advice: str


def concerns(view: TrainingState, safety: Safety, now: datetime) -> list[Concern]:
    """Return what is wrong now, the gravest first."""
    found = [*_of_journal(view), *_of_training(view, now), *_of_work(view, safety), *_of_clients(view)]
    found += [*_of_updates(view), *_of_keys(view)]
    return sorted(found, key=lambda concern: concern.style != "bad")


def attention(view: TrainingState, safety: Safety, now: datetime) -> Html:
    """Return the concerns as a list."""
    found = concerns(view, safety, now)
    if not found:
        quiet = "Nothing needs you." if view.events else "Waiting for the first event."
        return el("p", el("b", "✓ " if view.events else "", class_="sign good"), quiet, class_="calm")
    items = [el("li", el("strong", each.what), " ", each.advice, class_=each.style) for each in found]
    return el("ul", *items, class_="concerns")


def _of_journal(view: TrainingState) -> Iterator[Concern]:
    if view.trouble:
        known = f"this is what was known at {view.last_time:%H:%M:%S} UTC" if view.last_time else "wait"
        yield Concern("bad", f"The journal cannot be read: {view.trouble}.", f"It is tried again; {known}.")
    for what, detail in journal_problems(view):
        yield Concern("warn", what, detail)


def _of_training(view: TrainingState, now: datetime) -> Iterator[Concern]:
    if view.failure:
        yield Concern("bad", "The training has failed.", view.failure.words)
    if view.losses_in_a_row > 1 and view.phase not in STILL:
        advice = (
            f"The last reason: {view.supervisor_reason or 'see the timeline'}. The supervisor tries again."
        )
        yield Concern("warn", f"The training was lost {view.losses_in_a_row} times in a row.", advice)
    if view.phase is Phase.WAITING and view.waiting:
        advice = "See whether the missing SuperNodes run and reach the SuperLink; the round starts by itself."
        yield Concern("warn", f"Only {waiting_text(view.waiting)}.", advice)
    if view.attempt > 1 and view.started_round > view.done and view.phase not in STILL:
        advice = "Too few updates were valid; the model is unchanged. The timeline says why."
        yield Concern("warn", f"Round {view.started_round} is in attempt {view.attempt}.", advice)
    silent_s = silence_s(view, now)
    if silent_s is not None:
        advice = "Either a round takes that long, or the training is gone: see whether its processes run."
        yield Concern("warn", f"No event for {duration(silent_s)}.", advice)


def _of_work(view: TrainingState, safety: Safety) -> Iterator[Concern]:
    if view.saving:
        advice = (
            f"Not yet on the disk: {saving_text(view.saving)}. Free or repair the disk now: the model is "
            "in memory only, and the training fails after the last attempt."
        )
        yield Concern("bad", "The last round is not saved.", advice)
    elif view.checkpoint_failure:
        advice = f"{view.checkpoint_failure.reason}. The training continues; earlier checkpoints stay good."
        yield Concern("bad", "The last checkpoint could not be written.", advice)
    for each in safety.bad:
        advice = f"{each.problem} A restart skips it and uses the one before."
        yield Concern("bad", f"The checkpoint of round {each.number} is {each.proof}.", advice)
    if view.phase in STILL:
        return
    if any(row.variable == "FL_CHECKPOINT_ENABLED" and row.value == "NO" for row in view.settings):
        start = "round 1" if view.own_loop is None else "the beginning"
        advice = f"After a crash it starts from {start}. With FL_CHECKPOINT_ENABLED=YES it resumes."
        yield Concern("warn", "This training keeps no checkpoints.", advice)
    if view.short:
        yield Concern("warn", "The training needs more memory or disk than there is.", view.short.reason)
    newest = safety.newest
    if newest and safety.free_bytes is not None and safety.free_bytes < CHECKPOINTS_AHEAD * newest.size_bytes:
        advice = f"A checkpoint takes {size(newest.size_bytes)}: free some space in {safety.folder}."
        yield Concern("bad", f"Only {size(safety.free_bytes)} of disk are free.", advice)


def _of_clients(view: TrainingState) -> Iterator[Concern]:
    if back := view.went_back:
        advice = (
            f"Most clients could not train from that model: {back.reason}. Its checkpoint is kept as "
            "rejected. This happens once: see in the timeline which client was bounded, and stop it."
        )
        yield Concern("warn", f"The training went back from round {back.round} to {back.to}.", advice)
    if view.phase in STILL:
        return
    if view.bounded:
        subject = (
            "1 client's update was"
            if len(view.bounded) == 1
            else f"{len(view.bounded)} clients' updates were"
        )
        advice = "Weight or change was far above the median of the round. The timeline says by how much."
        yield Concern("warn", f"{subject} bounded.", advice)
    stands = {client.name: standing(view, client) for client in view.roster.values()}
    for stand, advice in (
        (Standing.QUARANTINED, "Such an update is kept out of the model; the table says why."),
        (Standing.FAILED, "The rounds go on as long as the quorum holds; the table says why."),
        (Standing.ABSENT, "It took part before: see whether its machine runs and reaches the SuperLink."),
    ):
        names = [name for name, each in stands.items() if each is stand]
        if names:
            subject = "1 client is" if len(names) == 1 else f"{len(names)} clients are"
            word = {Standing.FAILED: "failing", Standing.ABSENT: "missing"}.get(stand, str(stand))
            yield Concern("warn", f"{subject} {word}.", advice)


def _of_updates(view: TrainingState) -> Iterator[Concern]:
    advice = (
        "An attack, a fault in its data, or data unlike those of the others: see Updates, and where the "
        "client is not yours, stop it."
    )
    for remark in remarks(outliers(view)):
        yield Concern("warn", f"{remark}.", advice)


def _of_keys(view: TrainingState) -> Iterator[Concern]:
    for alarm in view.key_alarms.values():
        yield Concern("bad", f"A SuperNode was not let in: {text(alarm.code)}.", alarm.reason)
    count = view.refused[RefusalCode.UNKNOWN_KEY]
    if count and view.phase not in STOPPED:
        subject = "1 SuperNode was" if count == 1 else f"{count} SuperNodes were"
        advice = "Add its public key to FL_NODE_KEYS if it is yours; otherwise close the port to it."
        yield Concern("warn", f"{subject} not let in: {text(RefusalCode.UNKNOWN_KEY)}.", advice)


PANELS = (
    Panel(
        id="attention",
        heading="Needs attention",
        place=20,
        pages=ON_DASHBOARD,
        render=lambda shown: attention(shown.state, shown.safety, shown.now),
    ),
)
