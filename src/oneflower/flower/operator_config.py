"""The operator's settings for a run that was submitted without them, as by `flwr run` on another machine."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from oneflower.files import read_json

RUN_CONFIG_VARIABLE: Final = "ONEFLOWER_RUN_CONFIG"
"""Names a JSON file of run-config values, which whoever keeps the SuperLink running has written."""


def completed(run_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run-config with the operator's value of every key that it lacks.

    What the app declares, and what the run was submitted with, stays. Without the file, or where it cannot be
    read, nothing is added. Values are checked where the run-config is parsed.
    """
    named = os.environ.get(RUN_CONFIG_VARIABLE, "")
    given = read_json(Path(named)) if named else {}
    simple = {key: value for key, value in given.items() if isinstance(value, bool | int | float | str)}
    if isinstance(run_config, dict) and simple.keys() <= run_config.keys():
        return run_config  # the same object: `app check` watches what is read of it
    return {**simple, **run_config}
