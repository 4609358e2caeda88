"""Deprecated alias of `oneflower.sdk.data_source`."""

from oneflower.flower._moved import alias

alias(__name__, "oneflower.sdk.data_source")
