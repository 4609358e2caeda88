"""The parts of a page, each a function from a training to markup; the live page and the report share them."""

from oneflower.monitor.panels.attention import attention
from oneflower.monitor.panels.checkpoints import checkpoints
from oneflower.monitor.panels.clients import clients
from oneflower.monitor.panels.curves import accuracy, attendance, loss
from oneflower.monitor.panels.headline import headline, tiles, title
from oneflower.monitor.panels.now import doing
from oneflower.monitor.panels.rounds import rounds
from oneflower.monitor.panels.settings import settings
from oneflower.monitor.panels.timeline import timeline

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
