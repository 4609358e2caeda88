"""Deprecated alias of `oneflower.sdk.torch_app`."""

from oneflower.flower._moved import alias

alias(__name__, "oneflower.sdk.torch_app")
