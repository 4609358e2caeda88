"""The form that a client's reply must have, and what is said of one that has another."""

from dataclasses import dataclass, replace
from typing import Final, Self

from oneflower.aggregation import AggregationError, Arrays, Schema, model_schema
from oneflower.codes import LeftOutCode
from oneflower.findings import Finding, ok, problem, warning
from oneflower.flower.api import Message
from oneflower.flower.records import array_views
from oneflower.lab.app_check.probe import Way
from oneflower.training.replies import ReplyError

_OF_FORM: Final = frozenset({LeftOutCode.DTYPE, LeftOutCode.SHAPE, LeftOutCode.ARRAY_NAMES})
HOW_TO_MATCH: Final = (
    "Make the first model in the server with the dtypes of the replies (np.zeros(3, np.float32)), or reply "
    "with those that came: new.astype(came.dtype)"
)
HOW_TO_KEEP: Final = "Leave FL_STRATEGY unset, so that the app's own strategy combines these replies; or: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A model as it was sent, and the form in which it is to come back."""

    arrays: Arrays
    schema: Schema

    @classmethod
    def of(cls, arrays: Arrays) -> Self:
        """Expect the form of the model; AggregationError where it has none that can be averaged."""
        return cls(arrays=arrays, schema=model_schema(arrays))

    def with_dtypes_of(self, reply: Message) -> "Sent":
        """Expect the dtypes of a reply, for what compares replies with each other."""
        records = list(reply.content.array_records.values()) if reply.has_content() else []
        if len(records) != 1:
            return self
        try:
            came = array_views(records[0])
        except AggregationError:
            return self
        schema = {
            name: replace(spec, dtype=came[name].dtype) if name in came else spec
            for name, spec in self.schema.items()
        }
        return replace(self, schema=schema)


def misfit(check: str, error: ReplyError, way: Way, *, replaced_by: str, remedy: str) -> Finding:
    """Say that a reply does not have the form of the model, and who refuses it.

    A strategy or a loop of the app's own reads arrays of another dtype; FL_STRATEGY's does not.
    """
    if error.code == LeftOutCode.DTYPE and way is Way.STRATEGY and not replaced_by:
        said = f"{error}: the app's own strategy reads it, an FL_STRATEGY of oneflower would refuse it"
        return warning(check, said, HOW_TO_MATCH)
    if error.code == LeftOutCode.DTYPE and way is Way.LOOP:
        return ok(check, f"a reply that the app's own server reads ({error})")
    said = str(error)
    if replaced_by and error.code in _OF_FORM:
        said = f"FL_STRATEGY={replaced_by} refuses a reply that has not the form of the model: {error}"
    fix = HOW_TO_MATCH if error.code == LeftOutCode.DTYPE else remedy
    if replaced_by and error.code in _OF_FORM - {LeftOutCode.DTYPE}:
        fix = f"{HOW_TO_KEEP}{fix}"
    return problem(check, said, fix)
