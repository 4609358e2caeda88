"""A SuperLink, SuperNodes and a supervisor, each kept running by a parent as systemd would."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from own_ports import free_ports

from oneflower.flower.programs import program_of
from oneflower.flower.sockets import SOCKETS, socket_of
from oneflower.journal import read_journal
from oneflower.local_cluster import commands
from oneflower.local_cluster.processes import end
from oneflower.procfs import command_line, identify, send, session_of, with_environment
from oneflower.settings import resolve

WAIT_S = 150.0
RESTART_S = 1.0
SUPERLINK, SUPERVISOR = "superlink", "supervisor"
# Every process of a scene inherits it, also below an `oneflower up` that marks its own.
SCENE = "TEST_SCENE"
# Flower's flag for a SuperNode's retries is left out, so that it reconnects for ever.
NODES = 3


def has(entry, fields):
    """Whether the fields of an entry's event, and its run, have these values."""
    return all(
        getattr(entry if name == "run" else entry.event, name) == value for name, value in fields.items()
    )


class Kept:
    """A command that is run again whenever it ends, but for some exit codes, until it is told to rest."""

    def __init__(self, command, *, environment, log, final=(), prefix=()):
        self.command, self.environment, self.log = [*prefix, *command], environment, log
        self.final = final
        self.starts = 0
        self.process = None
        self.codes = []
        self._on = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def start(self):
        self._on.set()
        if not self._thread.is_alive() and not self._over.is_set():
            self._thread.start()

    def rest(self):
        """Start it no more until `start` is called again; what runs is not ended."""
        self._on.clear()

    def close(self):
        self._over.set()
        self._on.set()

    def join_end(self, count=1):
        """Wait until it has ended so often by itself."""
        deadline = time.monotonic() + WAIT_S
        while len(self.codes) < count:
            assert time.monotonic() < deadline, f"it has ended {len(self.codes)} times"
            time.sleep(0.05)

    def join(self):
        if self._thread.ident:
            self._thread.join(timeout=30)

    def _keep(self):
        while not self._over.is_set():
            self._on.wait()
            if self._over.is_set():
                return
            with self.log.open("ab") as output:
                self.process = subprocess.Popen(
                    self.command,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self.starts += 1
            self.codes.append(self.process.wait())
            if self.codes[-1] in self.final:
                self._on.clear()
            self._over.wait(RESTART_S)


class Scene:
    """One training on processes of its own; FL_* variables without the prefix."""

    def __init__(
        self,
        folder,
        app,
        *,
        nodes=NODES,
        host="127.0.0.1",
        prefixes=None,
        pause_s=1.0,
        values=8,
        extra=None,
        **variables,
    ):
        self.folder, self.app, self.nodes, self.host = Path(folder), app, nodes, host
        self.prefixes, self.pause_s, self.values = prefixes or {}, pause_s, values
        self.extra, self.token = extra or {}, secrets.token_hex(16)
        self.variables = {
            "NUM_ROUNDS": "6",
            "MIN_FIT_CLIENTS": str(nodes),
            "MIN_AVAILABLE_CLIENTS": str(nodes),
            "MIN_EVALUATE_CLIENTS": str(nodes),
            "CHECKPOINT_ENABLED": "YES",
            "CHECKPOINT_INTERVAL": "1",
            "ROUND_TIMEOUT": "120",
            **variables,
        }
        fleet, control, appio, *rest = free_ports(3 + nodes)
        self.addresses = commands.Addresses(
            fleet=f"{host}:{fleet}",
            control=f"127.0.0.1:{control}",
            serverappio=f"127.0.0.1:{appio}",
            clientappio=tuple(f"127.0.0.1:{port}" for port in rest),
        )
        self.kept = {}
        self.use_state("state")

    def use_state(self, name):
        """Work with a state folder of this name; the checkpoints stay where they are."""
        self.state = self.folder / name
        self.checkpoints = self.folder / "checkpoints"
        self.logs = self.folder / "logs"
        for folder in (self.state, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        self.journal = self.state / "journal.jsonl"

    # --- starting ---------------------------------------------------------------------------------

    def start(self, *roles):
        """Start these roles, by default all of them."""
        for role in roles or self.roles:
            if role not in self.kept:
                self.kept[role] = Kept(
                    self._command(role),
                    environment=self._environment(role),
                    log=self.logs / f"{role}.log",
                    # What the supervisor's unit is not started again for; the other units always are.
                    final=(0, 2, 5, 6) if role == self.head else (),
                    prefix=self.prefixes.get(role, ()),
                )
            self.kept[role].start()
        return self

    @property
    def head(self):
        """The role that is done when the training is."""
        return SUPERVISOR

    @property
    def roles(self):
        return (SUPERLINK, *self.supernodes, SUPERVISOR)

    @property
    def supernodes(self):
        return [f"supernode-{index}" for index in range(self.nodes)]

    @property
    def sockets(self):
        """The sockets of the cluster's Control and AppIo APIs."""
        return self.folder / "s"

    @property
    def control(self):
        """Where the Control API of our SuperLink is reached."""
        return socket_of(self.sockets, self.addresses.control)

    @property
    def settings(self):
        given = {f"FL_{name}": value for name, value in self.variables.items()}
        given |= {"FL_CHECKPOINT_PATH": str(self.checkpoints)}
        return resolve({}, {**given, "FL_CONTROL_API_ADDRESS": self.addresses.control}).settings

    def _command(self, role):
        if role == SUPERVISOR:
            return [sys.executable, "-m", "oneflower.cli.main", "supervise", "--app", str(self.app)]
        if role == SUPERLINK:
            (self.state / "superlink").mkdir(exist_ok=True)
            database = self.state / "superlink" / "state.db"
            storage = self.state / "superlink" / "ffs"
            return commands.superlink(
                self.addresses, self.settings, database=database, storage=storage, tls=None
            )
        index = int(role.rpartition("-")[2])
        return commands.supernode(index, self.nodes, self.addresses, self.settings, tls=None)

    def _environment(self, role):
        base = commands.environment(
            os.environ,
            self.settings,
            nodes=self.nodes,
            token=self.token,
            flwr_home=self.folder / "flwr-home" / role,
        )
        base |= {name: f"{base[name]},{self.host}" for name in ("no_proxy", "NO_PROXY")}
        base |= {"ONEFLOWER_JOURNAL": str(self.journal), SOCKETS: str(self.sockets)}
        base |= self._marks()
        if role == SUPERVISOR:
            base |= {f"FL_{name}": value for name, value in self.variables.items()}
            base |= {
                "FL_CHECKPOINT_PATH": str(self.checkpoints),
                "FL_CONTROL_API_ADDRESS": self.addresses.control,
            }
        return {name: value for name, value in base.items() if value is not None}

    def _marks(self):
        """Return what every process inherits: how it is found, what the app does, and what the test adds.

        None takes a variable away.
        """
        return {
            SCENE: self.token,
            "TEST_PAUSE_S": str(self.pause_s),
            "TEST_VALUES": str(self.values),
            **self.extra,
        }

    # --- breaking ---------------------------------------------------------------------------------

    def running(self, role=None, program=None):
        """Return the processes of a role (its whole tree), or those that run a Flower program."""
        found = list(with_environment(SCENE, self.token))
        if role is not None:
            process = self.kept[role].process
            found = [each for each in found if process and session_of(each.pid) == process.pid]
        if program is not None:
            found = [each for each in found if program_of(command_line(each.pid)) == program]
        return found

    def kill(self, *roles, program=None, number=signal.SIGKILL):
        """Kill the whole process trees of roles, or all processes that run a Flower program."""
        victims = self.running(program=program) if program else []
        for role in roles:
            process = self.kept[role].process
            leader = identify(process.pid) if process else None
            victims += ([leader] if leader else []) + self.running(role)
        for victim in victims:
            send(victim, number)
        return len(victims)

    def kill_all(self):
        """Kill every process, what keeps the training alive too."""
        victims = self.running()
        for victim in victims:
            send(victim, signal.SIGKILL)
        return len(victims)

    def hold_down(self, *roles):
        """Kill roles and start them no more until `start`."""
        for role in roles:
            self.kept[role].rest()
        self.kill(*roles)

    def close(self):
        for kept in self.kept.values():
            kept.close()
        end(lambda: list(with_environment(SCENE, self.token)), grace_s=3.0, hurry=lambda: False)
        for kept in self.kept.values():
            kept.join()

    # --- looking ----------------------------------------------------------------------------------

    def events(self, *names):
        return [entry.event for entry in self.entries(*names)]

    def entries(self, *names):
        return [each for each in read_journal(self.journal) if not names or each.event.tag in names]

    def wait_for(self, name, **options):
        """Wait until the journal holds more than ``after`` events with these fields; return the newest."""
        return self.wait_for_entry(name, **options).event

    def wait_for_entry(self, name, *, after=0, timeout_s=WAIT_S, **fields):
        """Wait for an event; return it with its time and its owner."""

        def found():
            entries = [entry for entry in self.entries(name) if has(entry, fields)]
            return entries if len(entries) > after else None

        return self.wait_until(found, f"no {name} {fields}", timeout_s=timeout_s)[-1]

    def wait_until(self, condition, problem, *, timeout_s=WAIT_S):
        """Wait until something holds; return what held."""
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < deadline, f"{problem}\n{self.tails()}"
            time.sleep(0.05)
        return found

    def count(self, name, **fields):
        return sum(has(entry, fields) for entry in self.entries(name))

    def finish(self, *, timeout_s=2 * WAIT_S):
        return self.wait_for("training_finished", timeout_s=timeout_s)

    def history(self):
        """Return the rounds of the final history, as the journal's events leave it."""
        rounds = {}
        for event in self.events():
            if event.tag in ("training_started", "training_resumed"):
                rounds = {number: e for number, e in rounds.items() if number <= event.round}
            elif event.tag == "round_completed":
                assert event.round not in rounds, f"round {event.round} was committed twice"
                rounds[event.round] = event
        return rounds

    def log(self, role):
        return (self.logs / f"{role}.log").read_text(errors="replace")

    def tails(self):
        ends = []
        for path in sorted(self.logs.glob("*.log")):
            ends += [f"--- {path.name}", *path.read_text(errors="replace").splitlines()[-15:]]
        with contextlib.suppress(OSError):
            ends += ["--- journal", *self.journal.read_text().splitlines()[-15:]]
        return "\n".join(ends)
