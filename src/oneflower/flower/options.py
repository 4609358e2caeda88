"""Deprecated alias of `oneflower.sdk.options`."""

from oneflower.flower._moved import alias

alias(__name__, "oneflower.sdk.options")
