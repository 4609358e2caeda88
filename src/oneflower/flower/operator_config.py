"""The operator's settings for a run that was submitted without them, as by `flwr run` on another machine."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from oneflower.files import read_json
from oneflower.settings import submitted, with_the_authors_of
from oneflower.settings.table import NAMESPACE

RUN_CONFIG_VARIABLE: Final = "ONEFLOWER_RUN_CONFIG"
"""Names a JSON file of run-config values under plain names, which whoever keeps the SuperLink has written."""


def completed(run_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run-config with the operator's settings, as a submission of his would have it.

    One that has oneflower's keys stays as it is. Without the file, or where it cannot be read, nothing is
    added. Values are checked where the run-config is parsed.
    """
    named = os.environ.get(RUN_CONFIG_VARIABLE, "")
    given = read_json(Path(named)) if named else {}
    simple = {key: value for key, value in given.items() if isinstance(value, bool | int | float | str)}
    if not simple or any(key.startswith(f"{NAMESPACE}.") for key in run_config):
        # The same object: `app check` watches what is read of it.
        return run_config if isinstance(run_config, dict) else dict(run_config)
    return {**run_config, **submitted(with_the_authors_of(simple, run_config), run_config)}
