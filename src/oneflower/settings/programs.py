"""Which programs a machine runs: Flower, the framework, the app, and how the app's processes are started."""

from dataclasses import dataclass

from oneflower.settings.app_config import APP_CONFIG
from oneflower.settings.formats import APP_SOURCE, FLOWER_VERSION, VERSION
from oneflower.settings.training import TrainingConfig
from oneflower.settings.use_cases import DEFAULT_FRAMEWORK, FRAMEWORKS, framework_of
from oneflower.settings.values import Boolean, Choice, Integer, Text
from oneflower.settings.variable import Consumer, Role, variable


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramSettings(TrainingConfig):
    """The rows of `Settings` that say what runs; they come before those of addresses and TLS."""

    flower_version: str = variable(
        name="FLOWER_VERSION",
        label="Flower version",
        kind=Text(VERSION),
        default=FLOWER_VERSION,
        role=Role.BOTH,
        consumers=Consumer.NONE,
        help="Flower version of the cluster",
    )
    ml_framework: str = variable(
        name="ML_FRAMEWORK",
        label="Machine learning framework",
        kind=Choice(FRAMEWORKS),
        default=DEFAULT_FRAMEWORK,
        role=Role.BOTH,
        consumers=Consumer.NONE,
        in_form=True,
        help="Machine learning framework of the app; an app of FL_USE_CASE has its own; any for none",
    )
    app: str = variable(
        name="FL_APP",
        label="Own app (folder, FAB, URL)",
        kind=Text(APP_SOURCE),
        default="",
        role=Role.SUPERLINK,
        consumers=Consumer.SUPERVISOR | Consumer.CONTAINER,
        in_form=True,
        help="App of your own: a folder or FAB below /opt/flower/apps, or https://HOST/NAME.fab#sha256=HEX",
    )
    warm_executor: bool = variable(
        name="FL_WARM_EXECUTOR",
        label="Warm executor",
        kind=Boolean(),
        default=True,
        role=Role.SUPERNODE,
        consumers=Consumer.SUPERNODE,
        help="Run each ClientApp in a forked child of one warm process, not in a new process",
    )
    data_cache: bool = variable(
        name="FL_DATA_CACHE",
        label="Cache of decoded data",
        kind=Boolean(),
        default=True,
        role=Role.SUPERNODE,
        consumers=Consumer.CONTAINER,
        help="Keep decoded data on the SuperNode's own disk; with NO each message decodes them again",
    )
    flower_workarounds: bool = variable(
        name="FL_FLOWER_WORKAROUNDS",
        label="Workarounds for Flower defects",
        kind=Boolean(),
        default=True,
        role=Role.BOTH,
        consumers=Consumer.SUPERLINK | Consumer.SUPERNODE | Consumer.SUPERVISOR | Consumer.CONTAINER,
        help=f"Apply the workarounds for known defects of Flower {FLOWER_VERSION}",
    )
    flower_speedups: bool = variable(
        name="FL_FLOWER_SPEEDUPS",
        label="Speed-ups for Flower",
        kind=Boolean(),
        default=True,
        role=Role.BOTH,
        consumers=Consumer.SUPERLINK | Consumer.SUPERNODE | Consumer.SUPERVISOR,
        needs="FL_FLOWER_WORKAROUNDS",
        help="Apply the workarounds that only save time; the others stay",
    )
    app_config: str = variable(
        name="FL_APP_CONFIG",
        label="Settings of the app",
        kind=Text(APP_CONFIG),
        default="",
        role=Role.SUPERLINK,
        consumers=Consumer.SUPERVISOR,
        help="Values of the run-config keys that the app declares itself: pairs key=value, or TOML",
    )
    max_restarts: int = variable(
        name="FL_MAX_RESTARTS",
        label="Consecutive restarts tolerated",
        kind=Integer(unit="restarts"),
        default=10,
        role=Role.SUPERLINK,
        consumers=Consumer.SUPERVISOR,
        help="Restarts in a row without a completed round after which the training has failed",
    )

    @property
    def framework(self) -> str:
        """What the image contains: the framework of the pre-built app, else the one that was chosen."""
        return framework_of(self.use_case, self.ml_framework)
