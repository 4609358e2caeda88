"""The bundled apps, and the copy of apps/my-app that `oneflower new` writes."""

from oneflower.apps_catalogue.create import write_app

__all__ = ["write_app"]
