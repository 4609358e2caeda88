"""Does an app do what oneflower needs of it: its server and one client are run here and watched."""

from oneflower.findings import Finding, Outcome
from oneflower.lab.app_check.check import check_app

__all__ = ["Finding", "Outcome", "check_app"]
