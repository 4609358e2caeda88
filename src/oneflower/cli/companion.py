"""Write the settings and serve the dashboard for `oneflower up`, once its training has begun."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from oneflower.cli.settings_used import write_settings_used
from oneflower.cli.sources import missing_extra
from oneflower.errors import StateError
from oneflower.journal.events import SettingRow
from oneflower.local_cluster.dashboard_token import new_token
from oneflower.local_cluster.folder import StateFolder
from oneflower.local_cluster.plan import DashboardPlace

EXTRA = "the extra `dashboard`: pip install 'oneflower[dashboard]'"


@dataclass(slots=True, kw_only=True)
class Companion:
    """Starts with the training's first event: before it the folder may hold an earlier training.

    Parameters
    ----------
    page : bool | None
        Whether to serve the dashboard; None serves it if the extra `dashboard` is installed.
    place : DashboardPlace
        Where to serve it, and with which token.
    say : callable
        Receives the dashboard's address, or why there is none. Its failure never ends a training.
    """

    folder: StateFolder
    settings: Sequence[SettingRow]
    page: bool | None
    say: Callable[[str], None]
    place: DashboardPlace = field(default_factory=DashboardPlace)
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
            from oneflower.monitor.web.access import Token  # noqa: PLC0415 - an extra
            from oneflower.monitor.web.server import beside  # noqa: PLC0415
        except ImportError:
            if self.place.given:
                self.say(f"no dashboard: {' and '.join(self.place.given)} has no effect without {EXTRA}")
            return
        folder, place, problem = self.folder, self.place, ""
        token = Token(place.token) if place.token else Token.drawn(new_token(folder.dashboard_token))
        for port in dict.fromkeys((place.port, 0)):
            try:
                address = self._stack.enter_context(
                    beside(folder.journal, folder.checkpoints, port, host=place.host, token=token)
                )
            except StateError as error:
                problem = str(error)
            else:
                if problem and "FL_DASHBOARD_ADDRESS" in place.given:
                    self.say(f"{problem}; a free port is used now")
                self.say(f"dashboard: {address}{' (asks for FL_DASHBOARD_TOKEN)' if place.token else ''}")
                return
        self.say(f"no dashboard: {problem}")


def _check_extra() -> None:
    """Raise an error for --dashboard without its extra, before anything starts."""
    try:
        import oneflower.monitor.web.server  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise missing_extra("--dashboard", "dashboard", error) from error
