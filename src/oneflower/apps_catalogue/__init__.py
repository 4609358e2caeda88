"""What `oneflower new` writes: a small app that already runs, a copy of apps/my-app."""

from oneflower.apps_catalogue.create import write_app

__all__ = ["write_app"]
