"""The error of a rule that cannot be applied to the updates it was given."""

from oneflower.errors import TrainingError


class AggregationError(TrainingError):
    """The updates of a round cannot be combined: too few for the rule, or not of one form."""
