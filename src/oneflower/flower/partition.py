"""Deprecated alias of `oneflower.sdk.partition`."""

from oneflower.flower._moved import alias

alias(__name__, "oneflower.sdk.partition")
