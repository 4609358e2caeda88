"""The panels of the dashboard and the report: each module declares its own in `PANELS`, and is found here."""

import pkgutil
from functools import cache
from importlib import import_module

from oneflower.monitor.html.panel import Page, Panel


def panels_of(page: Page) -> tuple[Panel, ...]:
    """Return the panels of a page in their order."""
    return tuple(panel for panel in all_panels() if page in panel.pages)


@cache
def all_panels() -> tuple[Panel, ...]:
    """Return what the modules of this folder declare, by place."""
    modules = [import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return tuple(
        sorted((panel for module in modules for panel in module.PANELS), key=lambda panel: panel.place)
    )
