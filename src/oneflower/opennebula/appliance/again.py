"""Run the stages of this boot again after a failure that may pass; one-apps itself runs them only once."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from oneflower.errors import OneflowerError, SettingsError, StateError
from oneflower.files import read_json, replace_file
from oneflower.kinds import may_pass
from oneflower.opennebula.appliance.layout import Layout
from oneflower.opennebula.appliance.stage import Stage
from oneflower.opennebula.appliance.systemd import SYSTEMCTL, Unit
from oneflower.opennebula.appliance.units import again_unit
from oneflower.tls import write_private

log = logging.getLogger(__name__)

AGAIN = "flower-again.service"
# An operator reads these of one-apps; they must not go on to say that the stage has failed.
SUCCESS = "bootstrap_success\n"
MOTD = "etc/motd"


def keep_environment(layout: Layout, environ: Mapping[str, str]) -> None:
    """Keep the environment that one-apps has given a stage, in memory and for root alone."""
    path = layout.environ
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, json.dumps(dict(environ)).encode("utf-8", errors="surrogateescape"))
    except OSError as error:
        raise StateError(f"cannot write {path}: {error.strerror}; mend that and start again") from None


def kept_environment(layout: Layout) -> dict[str, str]:
    """Return the environment of this boot's stages.

    Raises
    ------
    SettingsError
        No stage has run since the boot.
    """
    kept = read_json(layout.environ)
    if not kept:
        raise SettingsError(
            f"{layout.environ} is not there: no stage has run since this machine has booted. Run "
            "`/etc/one-appliance/service configure` and `... bootstrap`, or reboot"
        )
    return {name: str(value) for name, value in kept.items()}


def schedule(stage: Stage, error: OneflowerError) -> None:
    """Have systemd run the stages again, every minute until they succeed; a failure is logged."""
    if not may_pass(error):
        return
    try:
        stage.systemd.write([Unit(name=AGAIN, text=again_unit(stage.machine, gpu=_uses_gpu(stage)))])
        stage.commands.run(SYSTEMCTL, "start", "--no-block", AGAIN)
    except OneflowerError as problem:
        log.warning("the stages will not be run again reason=%s", problem)
        return
    log.info("the stages will be run again unit=%s", AGAIN)


def _uses_gpu(stage: Stage) -> bool:
    try:
        return stage.settings().settings.gpu_enabled
    except SettingsError:
        return False


def call_off(stage: Stage) -> None:
    """End what `schedule` has begun: one-apps runs the stages itself, perhaps with another context."""
    stage.systemd.remove([AGAIN])


def again(stage: Stage, stages: tuple[Callable[[Stage], None], ...]) -> None:
    """Run the stages, and correct what one-apps says of them once they have succeeded."""
    for run in stages:
        run(stage)
    _correct(stage)


def _correct(stage: Stage) -> None:
    layout = stage.layout
    try:
        if layout.status.is_file() and layout.status.read_text(encoding="ascii") != SUCCESS:
            _replace(layout.status, SUCCESS)
        motd = layout.root / MOTD
        if motd.is_file() and "step failed" in motd.read_text(encoding="utf-8", errors="replace"):
            _replace(motd, f"\noneflower {stage.machine.label}: ready, after its stages were run again.\n\n")
    except OSError as error:
        log.warning("the status of one-apps was not corrected reason=%s", error)


def _replace(path: Path, text: str) -> None:
    """Replace a file of one-apps' whole, with its own mode: a power cut must not leave it empty."""
    mode = path.stat().st_mode & 0o777
    replace_file(path, text.encode(), mode=mode)
    path.chmod(mode)
