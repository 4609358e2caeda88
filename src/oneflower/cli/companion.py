"""Write the settings and serve the dashboard for `oneflower up`, once its training has begun."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from oneflower.cli.settings_used import write_settings_used
from oneflower.cli.sources import missing_extra
from oneflower.errors import StateError
from oneflower.journal.events import SettingRow
from oneflower.local_cluster.folder import StateFolder

PORT: Final = 8265


@dataclass(slots=True, kw_only=True)
class Companion:
    """Starts with the training's first event: before it the folder may hold an earlier training.

    Parameters
    ----------
    page : bool | None
        Whether to serve the dashboard; None serves it if the extra `dashboard` is installed.
    say : callable
        Receives the dashboard's address, or why there is none. Its failure never ends a training.
    """

    folder: StateFolder
    settings: Sequence[SettingRow]
    page: bool | None
    say: Callable[[str], None]
    _begun: bool = False
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        if self.page:
            _check_extra()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def event(self, _event: Any) -> None:
        """Handle an event of the journal; the first one starts the companion."""
        if self._begun:
            return
        self._begun = True
        write_settings_used(self.folder.journal, self.settings)
        if self.page is not False:
            self._serve()

    def _serve(self) -> None:
        try:
            from oneflower.monitor.web.server import beside  # noqa: PLC0415 - an extra
        except ImportError:
            return
        for port in (PORT, 0):
            try:
                address = self._stack.enter_context(
                    beside(self.folder.journal, self.folder.checkpoints, port)
                )
            except StateError as error:
                problem = str(error)
            else:
                self.say(f"dashboard: {address}")
                return
        self.say(f"no dashboard: {problem}")


def _check_extra() -> None:
    """Raise an error for --dashboard without its extra, before anything starts."""
    try:
        import oneflower.monitor.web.server  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise missing_extra("--dashboard", "dashboard", error) from error
