"""Boosters of XGBoost as bytes: whether a reply is one, read as data, without XGBoost.

Flower's strategies for boosted trees merge the JSON of the clients, or hand the bytes of one client on to
the others. What is no booster would end the training, or become the model. The JSON is parsed within bounds;
of the binary form (UBJSON, what `save_raw` writes by default) only the frame is looked at.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import numpy as np

from oneflower.aggregation import NDArray
from oneflower.bounded_json import Bounds, parse_json, values_at_most
from oneflower.codes import LeftOutCode
from oneflower.training.replies import ReplyError

FREE_VALUES: Final = 4_000_000
"""The values in a booster's JSON, beside twice those of the model that was sent: 2,600 trees of depth 6."""
DEEPEST: Final = 24
_BINARY: Final = b"{L\0\0\0\0\0\0\0\7learner{"
_NODES: Final = ("right_children", "parents", "split_indices", "split_conditions", "default_left")
"""What a tree has for each of its nodes, beside `left_children`."""


@dataclass(frozen=True, slots=True)
class Booster:
    """What all boosters of one model have in common; None where one does not say it.

    Attributes
    ----------
    kind
        `json` or `binary`.
    features, classes
        As XGBoost writes them.
    objective
        The name of the loss.
    has_nodes
        Whether its trees list their nodes.
    """

    kind: str
    features: str | None = None
    classes: str | None = None
    objective: str | None = None
    has_nodes: bool | None = None


def looks_like_one(data: bytes) -> bool:
    """Whether bytes look like a booster: then those that answer them are expected to be one, too."""
    return data.startswith(_BINARY) or (data.lstrip()[:1] == b"{" and b'"learner"' in data)


def read_booster(array: NDArray, sent: bytes, *, merged: bool) -> Booster:
    """Return what an array of bytes says as a booster.

    Parameters
    ----------
    sent : bytes
        The model that the client was sent; its size says how large an answer is read.
    merged : bool
        The trees are appended to others: only the JSON of trees will do.

    Raises
    ------
    ReplyError
        It is none, or its trees are not whole.
    """
    if array.dtype.itemsize != 1 or array.dtype.kind not in "iu" or array.ndim != 1:
        shape = list(array.shape)
        raise ReplyError(f"the reply is {array.dtype} of shape {shape}; expected a booster as bytes (uint8)")
    data = array.tobytes()
    if data.startswith(_BINARY) and data.endswith(b"}"):
        if merged:
            raise _unlike("it is in the binary form, which cannot be merged")
        return Booster("binary")
    try:
        found = parse_json(data, _bounds(len(data), sent))
        return _booster(found, merged=merged)
    except KeyError as error:
        raise _unlike(f"it has no {error}") from error
    except (ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise _unlike(str(error)) from error


def _unlike(reason: str) -> ReplyError:
    return ReplyError(f"the reply is no booster: {reason}; expected what Booster.save_raw('json') writes")


def _bounds(size: int, sent: bytes) -> Bounds:
    return Bounds(most_bytes=size, most_values=FREE_VALUES + 2 * values_at_most(sent), most_depth=DEEPEST)


def _booster(found: dict[str, Any], *, merged: bool) -> Booster:
    learner = found["learner"]
    gradient = learner["gradient_booster"]
    parameters = learner.get("learner_model_param") or {}
    score = str(parameters.get("base_score", "0")).strip("[]").split(",")
    if not all(isfinite(float(each)) for each in score if each):
        raise ValueError("its base_score is NaN or infinite")
    features = parameters.get("num_feature")
    has_nodes = None
    if merged or "weights" not in gradient.get("model", {}):
        model = gradient["model"] if merged or "model" in gradient else gradient["gbtree"]["model"]
        has_nodes = _check_trees(model, None if features is None else int(features), merged=merged)
    elif not np.isfinite(np.asarray(gradient["model"]["weights"], np.float64)).all():
        raise ValueError("its weights hold NaN or infinity")
    return Booster(
        "json",
        features=_text(features),
        classes=_text(parameters.get("num_class")),
        objective=_text((learner.get("objective") or {}).get("name")),
        has_nodes=has_nodes,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)[:100]


def _check_trees(model: dict[str, Any], features: int | None, *, merged: bool) -> bool | None:
    """Check that trees are whole; return whether they list their nodes, None where there are none."""
    parameters, trees, groups = model["gbtree_model_param"], model["trees"], model["tree_info"]
    number, parallel = int(parameters["num_trees"]), int(parameters.get("num_parallel_tree", 1))
    if not (isinstance(trees, list) and isinstance(groups, list) and number == len(trees) == len(groups)):
        raise ValueError("it has another number of trees than it says")
    if parallel < 1 or (parallel > number and (merged or number)):
        raise ValueError(f"num_parallel_tree is {parallel}, of {number} trees")
    if merged or "iteration_indptr" in model:
        starts = _whole(model["iteration_indptr"])
        if not starts.size or starts[0] != 0 or starts[-1] != number or (np.diff(starts) < 0).any():
            raise ValueError("its iteration_indptr does not fit its trees")
    lists = {_check_tree(tree, features) for tree in trees}
    if len(lists) > 1:
        raise ValueError("only some of its trees list their nodes")
    return next(iter(lists), None)


def _check_tree(tree: dict[str, Any], features: int | None) -> bool:
    """Check the nodes of one tree, whose numbers point at each other; return whether it lists them."""
    if not isinstance(tree, dict):
        raise TypeError(f"a tree is a {type(tree).__name__}")
    if "left_children" not in tree:
        return False
    left, right = _whole(tree["left_children"]), _whole(tree["right_children"])
    count, inner = left.size, left >= 0
    if not count or any(np.asarray(tree[name]).shape != (count,) for name in _NODES):
        raise ValueError("a tree has lists of different lengths")
    # Each node has one parent, and the first has none: who walks down from it comes to an end.
    children = np.concatenate([left[inner], right[inner]])
    if left.min() != -1 or (children < 1).any() or (children >= count).any() or _repeats(children):
        raise ValueError("the nodes of a tree do not form one")
    splits = _whole(tree["split_indices"])[inner]
    if features is not None and ((splits < 0) | (splits >= features)).any():
        raise ValueError(f"a tree splits by a feature that is none of its {features}")
    leaves = np.concatenate([[0], children])  # nodes that were pruned away stay in the lists
    leaves = leaves[~inner[leaves]]
    if not np.isfinite(np.asarray(tree["split_conditions"], np.float64)[leaves]).all():
        raise ValueError("a leaf is NaN or infinite")
    return True


def _repeats(numbers: NDArray) -> bool:
    return bool(np.unique(numbers).size != numbers.size)


def _whole(values: object) -> NDArray:
    found = np.asarray(values)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise TypeError("a list of whole numbers holds something else")
    return found.astype(np.int64)


def require_like(found: Booster, sent: Booster) -> None:
    """Refuse a booster that does not fit the model that was sent, as far as both say what they are.

    Raises
    ------
    ReplyError
        It has another number of features or classes, or another loss.
    """
    for name in Booster.__dataclass_fields__:
        wanted, given = getattr(sent, name), getattr(found, name)
        if wanted is not None and given is not None and given != wanted:
            raise ReplyError(
                f"the booster's {name} is {given!r}; the model's is {wanted!r}", LeftOutCode.FORM
            )
