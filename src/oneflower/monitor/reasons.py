"""Why clients were left out, as a small fixed set of kinds: a free text would make endless time series."""

from typing import Final

OTHER: Final = "other"

# The first kind of which a word stands in the reason; the words are those of our own checks and of Flower.
_KINDS: Final = (
    ("not_finite", ("NaN or infinity",)),
    ("num_examples", ("num-examples",)),
    ("shape", ("has shape",)),
    ("dtype", ("has dtype",)),
    ("array_names", ("missing; expected the model's", "not in the model")),
    ("metrics", ("metric records", "metrics ")),
    ("no_answer", ("no answer",)),
    ("app_exception", ("<class", "raised", "the client failed")),
    ("unavailable", ("navailable",)),
    ("form", ("the reply", "array ")),
)
KINDS: Final = (*(kind for kind, _ in _KINDS), OTHER)


def kind_of(reason: str) -> str:
    """Return the kind of a reason, ``other`` for one that is not known."""
    return next((kind for kind, words in _KINDS if any(word in reason for word in words)), OTHER)
