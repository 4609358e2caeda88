"""What a panel is: the part of a page that one module of `panels/` declares."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from oneflower.journal import TrainingState
from oneflower.journal.events import SettingRow
from oneflower.monitor.html.markup import Html, el
from oneflower.monitor.state.safety import Safety


class Page(StrEnum):
    """The pages that have panels."""

    DASHBOARD = "dashboard"
    REPORT = "report"


EVERYWHERE: Final = frozenset(Page)
ON_DASHBOARD: Final = frozenset({Page.DASHBOARD})
ON_REPORT: Final = frozenset({Page.REPORT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What panels show: a training at one moment.

    Attributes
    ----------
    now
        The report's is the time of the last event.
    page
        The dashboard shows the newest of long lists, the report all.
    settings
        Those of a training whose journal does not hold them.
    """

    state: TrainingState
    safety: Safety
    now: datetime
    page: Page = Page.DASHBOARD
    settings: Sequence[SettingRow] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A panel of the dashboard, the report or both.

    Attributes
    ----------
    id
        Its id in the document: the dashboard replaces its content when that changes.
    heading
        Empty for a panel without a card around it.
    place
        Panels stand in the order of their places.
    wide
        The pages on which it takes the whole width.
    folded
        Whether the dashboard shows it closed; the report never does.
    """

    id: str
    heading: str
    place: int
    render: Callable[[Shown], Html]
    pages: frozenset[Page] = EVERYWHERE
    wide: frozenset[Page] = frozenset()
    folded: bool = False

    def card(self, content: Html, page: Page) -> Html:
        """Return the card of this panel on a page."""
        inner = el("div", content, id=self.id, class_=None if self.heading else "wide")
        if not self.heading:
            return inner
        if self.folded and page is Page.DASHBOARD:
            closed = el("details", el("summary", self.heading), inner)
            return el("section", closed, class_="card wide rows")
        style = "card wide" if page in self.wide else "card"
        return el("section", el("h2", self.heading), inner, class_=style)
