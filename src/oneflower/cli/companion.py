"""What `oneflower up` does beside a training that has begun: write down its settings, serve the live page."""

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
    """Begins with the training's first event, for only then the folder is this training's.

    Parameters
    ----------
    page : bool | None
        Whether to serve the live page; None does where the extra `dashboard` is installed.
    say : callable
        Gets the page's address, or why there is none. A page that fails never ends a training.
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
        """Take an event of the journal; the first one begins."""
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
                self.say(f"the live page is at {address}")
                return
        self.say(f"there is no live page: {problem}")


def _check_extra() -> None:
    """Refuse --dashboard where it cannot be, before anything starts."""
    try:
        import oneflower.monitor.web.server  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise missing_extra("--dashboard", "dashboard", error) from error
