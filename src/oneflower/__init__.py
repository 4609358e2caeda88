"""Federated learning on OpenNebula, configured by FL_* variables, that survives crashes."""

from importlib.metadata import version

__version__: str = version("oneflower")
