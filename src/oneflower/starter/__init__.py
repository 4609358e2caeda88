"""What `oneflower new` writes: a small app that already runs, from the files beside this one."""

from oneflower.starter.write import write_app

__all__ = ["write_app"]
