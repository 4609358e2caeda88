"""On the SuperLink's PYTHONPATH: two clients that register one object at the same time collide (B3)."""

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

FLAG = os.environ.get("ONEFLOWER_RACE_FLAG", "")
LOOK = "SELECT object_id, is_available"
PAUSE_S = 0.3


class SlowConnection(sqlite3.Connection):
    """A connection that pauses between looking an object up and inserting it, while the flag file exists."""

    def execute(self, statement: str, *parameters: Any) -> Any:
        """Execute a statement."""
        result = super().execute(statement, *parameters)
        if statement.startswith(LOOK) and Path(FLAG).exists():
            row = result.fetchone()
            if row is None:
                time.sleep(PAUSE_S)
            return type("Row", (), {"fetchone": lambda _: row})()
        return result


if FLAG:
    connect = sqlite3.connect
    sqlite3.connect = lambda *arguments, **options: connect(
        *arguments, **{"factory": SlowConnection, **options}
    )
