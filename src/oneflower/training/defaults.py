"""What a training without oneflower's run-config keys is told."""

from collections.abc import Mapping
from logging import WARNING

from oneflower.flower.api import log
from oneflower.settings import as_text, missing_keys


def warn_of_defaults(run_config: Mapping[str, object]) -> None:
    """Log which of oneflower's keys the run lacks: Flower has packed the app."""
    missing = missing_keys(run_config)
    if missing:
        log(
            WARNING,
            "the app was packed without oneflower's run-config keys, so FL_* variables do not set them; "
            "defaults are used: %s. Start the app with `oneflower supervise --app DIR`, or declare the keys "
            "in its pyproject.toml",
            ", ".join(f"{key}={as_text(value)}" for key, value in missing.items()),
        )
