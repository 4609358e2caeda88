"""Is my work safe: what is on the disk, whether it was proven, and what a crash would cost."""

from oneflower.codes import Phase
from oneflower.journal import TrainingState
from oneflower.monitor.html.markup import Html, code, el, join, moment, note, table
from oneflower.monitor.html.panel import EVERYWHERE, Panel
from oneflower.monitor.state.safety import Kept, Proof, Safety
from oneflower.monitor.text.own_loop import crash_sentence
from oneflower.monitor.text.values import size

HEADS = ("Round", "Files", "Saved", "Size", "Written in", "File")
STYLES = {
    Proof.VERIFIED: ("good", "✓"),
    Proof.DAMAGED: ("bad", "✕"),
    Proof.UNREADABLE: ("bad", "✕"),
    Proof.UNCHECKED: ("plain", "…"),
    Proof.ELSEWHERE: ("plain", "?"),
}


def checkpoints(view: TrainingState, safety: Safety) -> Html:
    """Return an answer in one sentence, and the checkpoints, newest first."""
    rows = [_row(kept) for kept in reversed(safety.kept)]
    return join(
        [
            el("p", _answer(view, safety)),
            table("Checkpoints", HEADS, rows, class_="checkpoints") if rows else None,
            note(_where(safety)) if safety.folder and view.own_loop is None else None,
        ]
    )


def _answer(view: TrainingState, safety: Safety) -> str:
    if view.own_loop is not None:
        return crash_sentence(view, view.own_loop)
    newest = safety.newest
    if newest is None:
        if not view.rounds:
            return "No round is done yet, so there is nothing to lose."
        return "No checkpoint was written: a crash starts the training from round 1."
    proven = f"its files are {newest.proof}"
    if view.phase is Phase.FINISHED:
        return f"The final model of round {newest.number} is saved, {proven}."
    lost = max(0, view.done - newest.number)
    cost = (
        "no round would be lost" if not lost else f"{lost} {'round' if lost == 1 else 'rounds'} would be lost"
    )
    if view.phase is Phase.INTERRUPTED:
        return (
            f"The training resumes after round {newest.number}: {cost.replace('would be', 'is')}; {proven}."
        )
    return f"After a crash now the training would resume after round {newest.number}: {cost}; {proven}."


def _where(safety: Safety) -> str:
    free = f", {size(safety.free_bytes)} of disk free" if safety.free_bytes is not None else ""
    return f"In {safety.folder}{free}. Older ones go as FL_CHECKPOINT_KEEP says."


def _row(kept: Kept) -> tuple[Html | str, ...]:
    style, sign = STYLES[kept.proof]
    return (
        str(kept.number),
        el("span", f"{sign} {kept.proof}", class_=f"stand {style}", title=kept.problem or None),
        moment(kept.time),
        size(kept.size_bytes),
        f"{kept.seconds:.2f} s" if kept.seconds is not None else "",
        code(kept.file),
    )


PANELS = (
    Panel(
        id="checkpoints",
        heading="Checkpoints",
        place=110,
        wide=EVERYWHERE,
        render=lambda shown: checkpoints(shown.state, shown.safety),
    ),
)
