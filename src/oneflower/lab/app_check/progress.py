"""The findings so far and the step that runs: what is left of a check that hangs or ends its process."""

from collections.abc import Callable, Iterable, Sequence

from oneflower.findings import Finding

Told = Callable[[str, Sequence[Finding]], None]


class Progress:
    """Collects findings; whoever watches is told of each step and each finding.

    Parameters
    ----------
    told : callable
        Gets the step that runs and the findings so far.
    """

    def __init__(self, told: Told = lambda _step, _findings: None) -> None:
        self.findings: list[Finding] = []
        self._step = ""
        self._told = told

    def begin(self, step: str) -> None:
        """Start a step, such as "loading the client"."""
        self._step = step
        self._told(self._step, self.findings)

    def add(self, findings: Iterable[Finding]) -> None:
        """Add findings as they come."""
        for each in findings:
            self.findings.append(each)
            self._told(self._step, self.findings)
