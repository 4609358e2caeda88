"""Trainings under every kind of fault, each from a seed: `make campaign`, and a short one as a test.

Six strategies, checkpoint intervals 1 to 3, two checkpoints kept, on the real cluster of `oneflower up` and
under `oneflower supervise`, with proxies in the environment that lead nowhere. Processes of every kind are
killed and stopped, the checkpoints' disk is full for a while, the journal unreadable. The model must be that
of a training that nothing disturbed. The transcript and the seed are printed: a training draws the same
faults from the same seed, whichever others run before it.
"""

import argparse
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from disturbed import Disturbed
from faults import (
    BELOW,
    DISK_FULL,
    GUARD,
    JOURNAL_AWAY,
    KILL,
    STOP,
    STOP_FOR_EVER,
    can_mount,
    draw,
    seeded,
)
from scene import Scene
from simulated import simulated_sha256
from up_scene import UpScene

from oneflower.flower.guard import GUARDED
from oneflower.settings import read_context

EXAMPLES = Path(__file__).parents[3] / "examples" / "strategies"
STRATEGIES = tuple(sorted(path.stem for path in EXAMPLES.glob("*.sh")))
INTERVALS = (1, 2, 3)
CLUSTERS = {"up": UpScene, "supervise": Scene}
# Under a service manager the launcher's guards look after SuperLink and SuperNodes; `up` does it itself.
ALONE = {"up": {}, "supervise": {GUARDED: None}}
# What the campaign sets itself. All clients are needed: else the model depends on who was there.
OURS = ("FL_USE_CASE", "FL_NUM_ROUNDS", "FL_CHECKPOINT_INTERVAL", "FL_CHECKPOINT_ENABLED")
NOWHERE = "http://127.0.0.1:9"
PROXIES = {
    name: value
    for variable in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
    for name, value in ((variable, NOWHERE), (variable.upper(), NOWHERE))
} | {"no_proxy": "", "NO_PROXY": ""}
ROUNDS_A_FAULT = 5
PAUSE_S = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """How many faults of each kind a training gets."""

    kills: int = 15
    stops: int = 2
    for_ever: int = 2
    disks: int = 2
    journals: int = 2

    @property
    def total(self):
        return self.kills + self.stops + self.for_ever + self.disks + self.journals


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One training."""

    strategy: str
    interval: int
    cluster: str

    def __str__(self):
        return f"{self.strategy}, interval {self.interval}, {self.cluster}"


def cases(strategies=STRATEGIES, intervals=INTERVALS, clusters=tuple(CLUSTERS)):
    """List the trainings: each pass over the strategies takes other intervals, and the clusters in turn."""
    return [
        Case(
            strategy=strategy,
            interval=intervals[(index + turn) % len(intervals)],
            cluster=clusters[(index + turn) % len(clusters)],
        )
        for turn in range(len(intervals))
        for index, strategy in enumerate(strategies)
    ]


def variables_of(strategy):
    """Return the settings of a strategy's example, without the prefix."""
    given = read_context(EXAMPLES / f"{strategy}.sh")
    return {name.removeprefix("FL_"): value for name, value in given.items() if name not in OURS}


def run_case(folder, app, case, *, seed, amounts, expected, proxies=True, say=print):
    """Run one training of the campaign; its folder is kept where it failed."""
    rounds = ROUNDS_A_FAULT * amounts.total
    rng = seeded(seed, case.strategy, case.interval, case.cluster)
    faults = draw(
        rng,
        kills=amounts.kills,
        stops=amounts.stops,
        for_ever=amounts.for_ever,
        disks=amounts.disks if can_mount() else 0,
        journals=amounts.journals,
        kinds=BELOW if case.cluster == "up" else (*BELOW, GUARD),
    )
    say(f"\n{case}: {len(faults)} faults in {rounds} rounds, seed {seed}", flush=True)
    if amounts.disks and not can_mount():
        say("  no full disks: they are small disks that are mounted, which needs root", flush=True)
    variables = {
        **variables_of(case.strategy),
        "NUM_ROUNDS": str(rounds),
        "CHECKPOINT_INTERVAL": str(case.interval),
        "CHECKPOINT_KEEP": "2",
        "MAX_RESTARTS": "50",
        "ROUND_RETRIES": "20",
        "ROUND_TIMEOUT": "60",
    }
    scene = CLUSTERS[case.cluster](
        folder,
        app,
        nodes=int(variables["MIN_FIT_CLIENTS"]),
        pause_s=PAUSE_S,
        extra={**(PROXIES if proxies else {}), **ALONE[case.cluster]},
        **variables,
    )
    try:
        result = Disturbed(scene, case, rounds, say).run(faults, expected=expected)
        if result.problem:
            say(scene.tails(), flush=True)
            for each in scene.running():
                say(f"  still there: {each}", flush=True)
    finally:
        scene.close()
    return result


def campaign(folder, app, chosen, *, seed, amounts, minutes, proxies=True, say=print):
    """Run these trainings one after another, and begin none after so many minutes; return the results."""
    end = time.monotonic() + 60 * minutes
    expected, results = {}, []
    for index, case in enumerate(chosen):
        if time.monotonic() > end:
            say(f"the {minutes:g} minutes are over: {len(chosen) - index} trainings are left out", flush=True)
            break
        rounds = ROUNDS_A_FAULT * amounts.total
        if case.strategy not in expected:
            variables = variables_of(case.strategy) | {"NUM_ROUNDS": str(rounds)}
            expected[case.strategy] = simulated_sha256(
                folder / f"calm-{case.strategy}", app, clients=variables["MIN_FIT_CLIENTS"], **variables
            )
        place = folder / f"{case.strategy}-{case.interval}-{case.cluster}"
        results.append(
            run_case(
                place,
                app,
                case,
                seed=seed,
                amounts=amounts,
                expected=expected[case.strategy],
                proxies=proxies,
                say=say,
            )
        )
        say(row(results[-1]), flush=True)
        if not results[-1].problem:
            shutil.rmtree(place, ignore_errors=True)
    return results


HEADS = (
    "| strategy | interval | cluster | rounds | kills | stops 10 s, for ever | full disks | journal away |"
)
HEADS += " runs lost | starts of the head | readers' looks | seconds | same SHA-256 |"
RULE = "|---" * 13 + "|"


def row(result):
    """Return a line of the summary."""
    made, case = result.made, result.case
    cells = [
        case.strategy,
        case.interval,
        case.cluster,
        result.rounds,
        made[KILL],
        f"{made[STOP]}, {made[STOP_FOR_EVER]}",
        made[DISK_FULL],
        made[JOURNAL_AWAY],
        result.lost,
        result.head_starts,
        result.reads,
        f"{result.seconds:.0f}",
        f"NO: {result.problem}" if result.problem else "yes",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def main():
    """Run the campaign that the command line asks for; exit with 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=STRATEGIES)
    parser.add_argument("--intervals", nargs="+", type=int, default=INTERVALS)
    parser.add_argument("--clusters", nargs="+", choices=tuple(CLUSTERS), default=tuple(CLUSTERS))
    for name, number in asdict(Amounts()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=number, help="in each training")
    parser.add_argument("--minutes", type=float, default=300.0, help="begin no training after so long")
    parser.add_argument("--proxies", action=argparse.BooleanOptionalAction, default=True)
    given = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from numpy_app import write_numpy_app

    folder = Path(tempfile.mkdtemp(prefix="campaign-"))
    app = write_numpy_app(folder / "numpy-app")
    chosen = cases(given.strategies, given.intervals, given.clusters)
    amounts = Amounts(**{name: getattr(given, name) for name in asdict(Amounts())})
    say = print
    say(f"seed {given.seed}, {len(chosen)} trainings, with {amounts}", flush=True)
    results = campaign(
        folder, app, chosen, seed=given.seed, amounts=amounts, minutes=given.minutes, proxies=given.proxies
    )
    say("\n".join(["", HEADS, RULE, *map(row, results)]))
    if any(result.problem for result in results):
        sys.exit(f"seed {given.seed}: a promise was broken; what is left lies in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
