"""Check whether an app does what oneflower needs: its server and one client are run here and observed."""

from oneflower.findings import Finding, Outcome
from oneflower.lab.app_check.check import check_app

__all__ = ["Finding", "Outcome", "check_app"]
