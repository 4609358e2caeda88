"""The parts of a page, each a function from a training to markup; the live page and the report share them."""

from oneflower.monitor.html.panels.attention import attention
from oneflower.monitor.html.panels.checkpoints import checkpoints
from oneflower.monitor.html.panels.clients import clients
from oneflower.monitor.html.panels.curves import accuracy, attendance, loss
from oneflower.monitor.html.panels.headline import headline, tiles, title
from oneflower.monitor.html.panels.now import doing
from oneflower.monitor.html.panels.rounds import rounds
from oneflower.monitor.html.panels.settings import settings
from oneflower.monitor.html.panels.timeline import timeline

__all__ = [
    "accuracy",
    "attendance",
    "attention",
    "checkpoints",
    "clients",
    "doing",
    "headline",
    "loss",
    "rounds",
    "settings",
    "tiles",
    "timeline",
    "title",
]
