"""Deprecated alias of `oneflower.sdk.client`."""

from oneflower.flower._moved import alias

alias(__name__, "oneflower.sdk.client")
