"""Federated learning on OpenNebula, configured by FL_* variables, that survives crashes."""

__version__: str


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for: that costs a third of the time of a short command."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # noqa: PLC0415

    return version("oneflower")
