"""The bundled apps, and the copy of a starter app that `oneflower new` writes."""

from oneflower.apps_catalogue.create import STARTERS, write_app

__all__ = ["STARTERS", "write_app"]
