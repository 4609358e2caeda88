"""All checks of an app, one after another."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oneflower.checkpoints import model_digest
from oneflower.errors import OneflowerError, SettingsError
from oneflower.findings import Finding, Outcome, ok, problem, skipped, warning
from oneflower.flower import apps, bundles
from oneflower.flower.api import ArrayRecord, ClientApp, Context, ServerApp
from oneflower.flower.calls.control import AUTO
from oneflower.flower.calls.seeds import seed_everything
from oneflower.flower.fab import build_fab, declared_keys
from oneflower.flower.packing_rules import LeftOut
from oneflower.flower.records import array_views
from oneflower.journal import JOURNAL_VARIABLE, read_journal
from oneflower.journal.events import TrainingStarted
from oneflower.lab.app_check.client import ClientCheck, check_client
from oneflower.lab.app_check.cuda import check_cuda, watched
from oneflower.lab.app_check.packed import files_left_out, flower_version, left_out, named
from oneflower.lab.app_check.privacy import check_noise
from oneflower.lab.app_check.probe import (
    Probe,
    TrainsNothingError,
    WatchedConfig,
    Way,
    first_message,
)
from oneflower.lab.app_check.progress import Progress, Told
from oneflower.lab.app_check.remedies import REMEDIES, Remedies
from oneflower.lab.app_check.sources import loaded_sources
from oneflower.lab.app_check.verdict import SETTINGS, verdict
from oneflower.lab.app_check.workplaces import working_directories
from oneflower.lab.simulation import server_context, unpack
from oneflower.settings import APP_CONFIG_KEYS, APP_STRATEGY, submitted, training_config
from oneflower.stock.hooks import installed
from oneflower.words import counted

PACKS, KEYS, SERVER, INITIAL, CLIENT = "flower-app", "run-config", "server", "initial-model", "client"
FOR_THE_CHECK: Mapping[str, Any] = {
    "num-server-rounds": 1,
    "checkpoint-enabled": False,
    "resume": "never",
    "round-retries": 0,
}
"""One round is enough, and nothing is written but what the check itself writes."""

HOW_TO_PACK = "Fix what is listed, in pyproject.toml and beside it"
HOW_TO_DECLARE = "Declare the key with its default in [tool.flwr.app.config] of pyproject.toml"
HOW_TO_START = "Fix the server; `oneflower simulate --clients 2 --app DIR` shows the whole traceback"
HOW_TO_SET = "Change the setting that is named, in the environment or in the file of --context"
HOW_TO_USE_MESSAGES = (
    "Start a strategy or send messages in @app.main() of the ServerApp; `oneflower simulate --clients 2 "
    "--app DIR` shows what it does"
)
HOW_TO_DEFAULT = (
    "Give the key a default that the variable accepts, or another name: a value of it reaches oneflower only "
    "where Flower packs the app"
)
HOW_TO_LOAD = "Fix the client, or install what is missing"


def check_app(  # noqa: PLR0913 - the inputs of a check
    app_dir: Path,
    *,
    run_config: Mapping[str, Any],
    clients: int,
    home: Path,
    or_more: Sequence[int] = (),
    told: Told = lambda _step, _findings: None,
) -> list[Finding]:
    """Check an app; its code is loaded and run in this process.

    Parameters
    ----------
    app_dir
        The app's folder.
    run_config
        What the settings say; the check's own keys come on top.
    clients
        How many clients the server sees. One of them is asked.
    or_more
        How many it sees next, in turn, where it waits for more.
    home
        A folder for the unpacked app and the journal.
    told
        Gets the step that runs, and the findings so far.
    """
    progress, home = Progress(told), home.absolute()
    progress.begin("packing the app")
    try:
        fab = build_fab(app_dir)
        folder = unpack(fab, home)
        context = server_context(folder, submitted({**run_config, **FOR_THE_CHECK}, fab.own))
    except (OneflowerError, ValueError, OSError) as error:
        return [problem(PACKS, str(error), HOW_TO_PACK)]
    server, client = bundles.unpacked_components(folder)
    missing = files_left_out(app_dir, fab)
    progress.add([ok(PACKS, f"{fab.id} {fab.version}: serverapp {server}, clientapp {client}")])
    progress.add([left_out(missing), flower_version(app_dir)])
    before = len(progress.findings)
    watched = WatchedConfig(context.run_config)
    context.run_config = watched
    run = _Run(
        folder=folder,
        context=context,
        clients=(clients, *or_more),
        app=fab.id,
        home=home,
        given=run_config,
        missing=missing,
        progress=progress,
    )
    with installed(), working_directories(home) as places:
        way = run.check(server, client, places)
    # Which keys are read shows only now; the finding keeps its place before those of the run.
    findings = progress.findings
    findings.insert(before, _check_keys(app_dir, watched))
    return [*findings, verdict(findings, way)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """An app that is run: its server twice up to its first message, then its client."""

    folder: Path
    context: Context
    clients: Sequence[int]
    app: str
    home: Path
    given: Mapping[str, Any]
    missing: Sequence[LeftOut]
    progress: Progress

    def check(self, server_name: str, client_name: str, places: Iterator[None]) -> Way | None:
        """Add the findings; return how the app trains, or None where it does not.

        Each run of the server takes the next of the `places`: it may make a folder named by the second.
        """
        self.progress.begin(f"loading the client ({client_name})")
        try:
            client = apps.load_client_app(client_name, self.folder)
        except (Exception, SystemExit) as error:  # noqa: BLE001  an app's code may raise anything
            said = f"it cannot be loaded: {_said(error)}"
            self.progress.add([self._named(problem(CLIENT, said, HOW_TO_LOAD))])
            return None
        journal = self.home / "journal.jsonl"
        try:
            self.progress.begin(f"loading the server ({server_name})")
            server = apps.load_server_app(server_name, self.folder)
            with _journal_at(journal):
                self.progress.begin("running the server up to its first training message")
                next(places)
                probe = self._first_message(server, client, 1)
                self.progress.begin("running the server a second time (initial-model)")
                next(places)
                again = self._first_message(server, client, 2)
        except TrainsNothingError:
            said = "it asks its clients and trains no model: its messages are recorded and replayed"
            self.progress.add([ok(SERVER, said)])
            return Way.LOOP
        except SettingsError as error:
            self.progress.add([problem(SETTINGS, _said(error), HOW_TO_SET)])
            return None
        except (Exception, SystemExit) as error:  # noqa: BLE001  an app's code may raise anything
            said = f"it does not get to round 1: {_said(error)}"
            self.progress.add([self._named(problem(SERVER, said, HOW_TO_START))])
            return None
        if probe is None or again is None:
            said = "it ends without a training message to any client"
            self.progress.add([problem(SERVER, said, HOW_TO_USE_MESSAGES)])
            return None
        sources = loaded_sources(self.folder)
        remedies = REMEDIES[sources.framework]
        self.progress.add([_server(probe.way, journal), _initial_model(probe, again, remedies)])
        named = str(self.given.get("strategy", APP_STRATEGY))
        check = ClientCheck(
            probe=probe,
            remedies=remedies,
            is_fedprox=self.given.get("strategy") == "FedProx",
            replaced_by=named if named != APP_STRATEGY and probe.way is Way.STRATEGY else "",
            adds_term=self.given.get("proximal-term", AUTO) == AUTO,
            begin=self.progress.begin,
        )
        with watched() as seen:
            self.progress.add(map(self._named, check_client(check)))
        self.progress.add(check_cuda(self.folder, seen, os.environ))
        noise = check_noise(
            loaded_sources(self.folder), probe.way, strategy=self.given.get("strategy"), environ=os.environ
        )
        self.progress.add(noise)
        return probe.way

    def _first_message(self, server: ServerApp, client: ClientApp, seed: int) -> Probe | None:
        seed_everything(seed)
        return first_message(server, client, context=self.context, clients=self.clients, app=self.app)

    def _named(self, finding: Finding) -> Finding:
        """Add to a problem which file it asks for, where the bundle lacks it."""
        if finding.outcome is not Outcome.PROBLEM:
            return finding
        absent = named(self.missing, finding.found)
        if absent is None:
            return finding
        return problem(finding.check, f"{finding.found}; {absent.text}", absent.fix)


def _server(way: Way, journal: Path) -> Finding:
    if way is Way.SDK:
        return ok(SERVER, "it calls oneflower.sdk.train")
    if way is Way.LOOP:
        return ok(SERVER, "it has a loop of its own: its messages are recorded, and replayed after a crash")
    started = [entry.event for entry in read_journal(journal) if isinstance(entry.event, TrainingStarted)]
    name = started[-1].strategy if started else "its strategy"
    return ok(SERVER, f"it starts {name}, which runs in oneflower's rounds")


def _initial_model(probe: Probe, again: Probe, remedies: Remedies) -> Finding:
    first, second = probe.arrays, again.arrays
    if first is None or second is None:
        return skipped(INITIAL, "the server's message does not hold one array record")
    if not any(array.size for array in array_views(first).values()):
        return skipped(INITIAL, "the server starts without a model: it sends no numbers")
    same = _digest(first) == _digest(second)
    if probe.way is Way.LOOP:  # what it sends need not be a model
        text = "one seed gives the same arrays" if same else "one seed gave different arrays"
        text = f"{text} in the first training message"
    else:
        text = f"one seed {'gives one model' if same else 'gave two models'} before round 1"
    return ok(INITIAL, text) if same else problem(INITIAL, text, remedies.initial)


def _digest(record: ArrayRecord) -> str:
    return model_digest(array_views(record))


def _check_keys(app_dir: Path, watched: WatchedConfig) -> Finding:
    """Name the keys that the app reads and does not declare, and invalid defaults of oneflower's keys."""
    declared = declared_keys(app_dir)
    try:
        training_config(declared)
    except SettingsError as error:
        return warning(KEYS, str(error).replace("\n", "; "), HOW_TO_DEFAULT)
    if watched.missed:
        names = ", ".join(sorted(watched.missed))
        return problem(KEYS, f"the app needs keys that it does not declare: {names}", HOW_TO_DECLARE)
    if watched.optional:
        names = ", ".join(sorted(watched.optional))
        return warning(KEYS, f"keys that are read and not declared cannot be set: {names}", HOW_TO_DECLARE)
    own = set(declared) - set(APP_CONFIG_KEYS)
    defaults = ", ".join(sorted(set(declared) - own))
    also = f"; FL_* variables replace its defaults of {defaults}" if defaults else ""
    return ok(KEYS, f"the app declares {counted(len(own), 'key')} of its own{also}")


def _said(error: BaseException) -> str:
    cause = error.__cause__
    if isinstance(cause, ImportError):
        return f"{type(cause).__name__}: {cause}"
    text = str(error) if isinstance(error, OneflowerError) else f"{type(error).__name__}: {error}"
    return " ".join((f"{text} ({type(cause).__name__}: {cause})" if cause is not None else text).split())


@contextmanager
def _journal_at(path: Path) -> Iterator[None]:
    """Let oneflower.sdk.train write its journal there: the journal shows that it was called."""
    before = os.environ.get(JOURNAL_VARIABLE)
    os.environ[JOURNAL_VARIABLE] = str(path)
    try:
        yield
    finally:
        if before is None:
            del os.environ[JOURNAL_VARIABLE]
        else:
            os.environ[JOURNAL_VARIABLE] = before
