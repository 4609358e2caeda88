"""The same scene under `oneflower up`, which is run again whenever it ends before its training has."""

import os
import sys

from scene import Scene

UP = "up"


class UpScene(Scene):
    """One state folder and an `oneflower up` that a patient person starts again and again."""

    @property
    def head(self):
        return UP

    @property
    def roles(self):
        return (UP,)

    def _command(self, role):
        command = [sys.executable, "-m", "oneflower.cli.main", "up", "--app", str(self.app)]
        return [*command, "--nodes", str(self.nodes), "--state", str(self.state), "--plain", "--no-dashboard"]

    def _environment(self, role):
        given = {f"FL_{name}": value for name, value in self.variables.items()}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FL_")}
        return {**kept, **given, "FL_CHECKPOINT_PATH": str(self.checkpoints), **self._marks()}

    def tails(self):
        logs = [self.state / "logs" / name for name in ("superlink.log", "superlink.log.1")]
        ends = [f"--- {log.name}\n{_last_lines(log)}" for log in logs if log.exists()]
        return "\n".join([super().tails(), *ends])


def _last_lines(log, most=25):
    return "\n".join(log.read_text(errors="replace").splitlines()[-most:])
