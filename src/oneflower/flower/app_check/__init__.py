"""Does an app do what oneflower needs of it: its server and one client are run here and watched."""

from oneflower.flower.app_check.check import check_app
from oneflower.flower.app_check.findings import Finding, Outcome

__all__ = ["Finding", "Outcome", "check_app"]
