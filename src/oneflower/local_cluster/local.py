"""A SuperLink and its SuperNodes on this machine: start, check, restart and stop them."""

import re
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from oneflower.errors import ClusterError
from oneflower.files import read_bytes, state_errors
from oneflower.flower.arguments import DATA_CACHE_VARIABLE, STATE_VARIABLE
from oneflower.flower.control import ControlClient
from oneflower.flower.health import Stalled
from oneflower.flower.sockets import SOCKETS, control_of
from oneflower.journal import JOURNAL_VARIABLE
from oneflower.local_cluster import commands
from oneflower.local_cluster.children import Children, Death
from oneflower.local_cluster.commands import Addresses
from oneflower.local_cluster.folder import StateFolder
from oneflower.local_cluster.node_keys import LocalKeys
from oneflower.local_cluster.plan import ADDRESSES
from oneflower.local_cluster.ports import LOOPBACK, check_free, free_ports
from oneflower.local_cluster.processes import ProcessTable
from oneflower.local_cluster.spawn import MAX_LOG_BYTES, previous, tail
from oneflower.local_cluster.tls import Certificates
from oneflower.node_keys import KEYS_VARIABLE
from oneflower.settings import Settings

START_TIMEOUT_S = 60.0
# A SuperNode imports Flower when it starts; on few cores many SuperNodes wait for each other.
START_TIMEOUT_PER_NODE_S = 10.0
STOP_GRACE_S = 5.0
POLL_S = 0.1
PORT_ATTEMPTS = 3
PORT_TAKEN = "already in use"
SUPERLINK = "superlink"
SUPEREXEC = "superexec"
# A SuperNode logs this when it has registered.
NODE_ID = re.compile(r"SuperNode ID: (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """The configuration of a cluster. A port of None means a free one."""

    nodes: int
    settings: Settings
    environ: Mapping[str, str]
    fleet_port: int | None = None
    control_port: int | None = None
    tls: Certificates | None = None


class LocalCluster:
    """Real Flower processes in their own sessions; each dies with this process.

    ``start`` returns when all nodes are online at the SuperLink. Call every method from the main thread (see
    `spawn.spawn`).
    """

    def __init__(self, folder: StateFolder, options: ClusterOptions) -> None:
        self._folder = folder
        self._options = options
        self._keys = LocalKeys(folder.tls) if options.tls and options.settings.node_auth else None
        self._children = self._no_children()
        self._addresses: Addresses | None = None
        self._control: ControlClient | None = None
        self._sockets = folder.sockets

    @property
    def addresses(self) -> Addresses:
        """The addresses of this boot; ClusterError before the start."""
        if self._addresses is None:
            raise ClusterError("the cluster has not been started")
        return self._addresses

    @property
    def control(self) -> ControlClient:
        """The SuperLink's Control API; ClusterError before the start."""
        if self._control is None:
            raise ClusterError("the cluster has not been started")
        return self._control

    def check_ports(self) -> None:
        """Raise a ClusterError if a port that the operator set is in use."""
        for name, variable in ADDRESSES.items():
            port = getattr(self._options, name)
            if port is not None:
                check_free(port, variable)

    def start(self) -> None:
        """Start all processes with empty databases and wait until all nodes are online.

        Raises
        ------
        ClusterError
            A port is in use, a process died (with the end of its log), or there is no answer in time.
        StateError
            The state folder cannot be written.
        """
        self.check_ports()
        for attempt in range(1, PORT_ATTEMPTS + 1):
            try:
                return self._boot()
            except ClusterError as error:
                self.stop(grace_s=0.0)
                # Another program may take a free port before we use it.
                if PORT_TAKEN not in str(error) or attempt == PORT_ATTEMPTS:
                    raise
        return None

    def stop(self, *, grace_s: float = STOP_GRACE_S, hurry: Callable[[], bool] = lambda: False) -> None:
        """End every process of this boot, including those that Flower has started, and wait for them."""
        if self._control:
            self._control.close()
            self._control = None
        self._children.end_all(grace_s=grace_s, hurry=hurry)
        shutil.rmtree(self._sockets, ignore_errors=True)

    @property
    def nodes(self) -> int:
        """The number of SuperNodes."""
        return self._options.nodes

    def is_up(self) -> bool:
        """Return whether the SuperLink of this boot is running."""
        return self._control is not None and all(death.role != SUPERLINK for death in self.deaths())

    def online(self) -> int:
        """Return the number of SuperNodes that are online at the SuperLink."""
        return sum(node.online for node in self.control.nodes())

    def deaths(self) -> list[Death]:
        """Return the processes that no longer work."""
        return self._children.deaths()

    def stalled(self) -> list[Stalled]:
        """Continue or end the stalled processes; return what was done."""
        return self._children.stalled()

    def cut_logs(self) -> None:
        """Keep the log of every process at a bounded size."""
        self._children.cut_logs()

    def restart(self, role: str) -> None:
        """Restart a SuperNode or an executor; the rest of the old one is ended first."""
        self._children.end_one(role)
        kind, _, index = role.partition("-")
        if role == SUPEREXEC:
            self._spawn(SUPEREXEC, commands.superexec("serverapp", self.addresses.serverappio))
        elif kind == SUPEREXEC:
            self._spawn_executor(role, int(index))
        else:
            self._spawn_supernode(int(index))

    def forget(self, role: str) -> None:
        """Unregister a dead SuperNode at the SuperLink, so that no round waits for it."""
        if role.startswith(SUPEREXEC):
            return
        # It may not have registered yet, or may have unregistered itself.
        with suppress(ClusterError, OSError):
            log = self._folder.log(role)
            parts = [part for part in (previous(log), log) if part.exists()]
            found = b"".join(read_bytes(part, 2 * MAX_LOG_BYTES, follow=False) for part in parts)
            ids = NODE_ID.findall(found.decode(errors="replace"))
            self.control.unregister(int(ids[-1]) if ids else 0)

    def tails(self) -> str:
        """Return the end of the SuperLink's log, which contains the ServerApp's output."""
        return tail(self._folder.log(SUPERLINK))

    def _boot(self) -> None:
        self._clear_folders()
        self._addresses = self._choose_addresses()
        self._children = self._no_children()
        self._children.table.open()
        if self._keys:
            self._keys.clear()
        self._spawn_superlink()
        tls = self._options.tls
        control = control_of(
            self.addresses.control,
            {SOCKETS: str(self._sockets)},
            private=self._options.settings.flower_workarounds,
        )
        self._control = ControlClient(control, tls.ca.read_bytes() if tls else None)
        self._wait("the SuperLink does not answer", self._answers)
        for index in range(self._options.nodes):
            self._spawn_supernode(index)
        self._wait("not all SuperNodes have come online", lambda: self.online() >= self._options.nodes)

    def _wait(self, failure: str, condition: Callable[[], bool]) -> None:
        timeout_s = START_TIMEOUT_S + START_TIMEOUT_PER_NODE_S * self._options.nodes
        deadline = time.monotonic() + timeout_s
        while not condition():
            self._children.check_alive()
            self._children.stalled()
            if time.monotonic() > deadline:
                raise ClusterError(f"{failure} within {timeout_s:.0f} s\n{self._children.tails()}")
            time.sleep(POLL_S)

    def _answers(self) -> bool:
        try:
            self.control.nodes()
        except ClusterError:
            return False
        return True

    def _no_children(self) -> Children:
        # With workarounds the launcher itself restarts a dead executor.
        watched = not (self._own_executors() or self._options.settings.flower_workarounds)
        return Children(table=ProcessTable(path=self._folder.processes), executors_stay_dead=watched)

    def _clear_folders(self) -> None:
        """Remove Flower's old state: node ids of an earlier boot would be sampled for 60 s."""
        for folder in (self._folder.superlink, self._folder.flwr_home):
            _recreate(folder)
        self._sockets = self._folder.make_sockets()
        with state_errors(self._folder.superlink):
            self._database().parent.mkdir(parents=True, exist_ok=True)

    def _database(self) -> Path:
        return self._folder.superlink / self._options.settings.database

    def _choose_addresses(self) -> Addresses:
        options = self._options
        fleet, control, *rest = [f"{LOOPBACK}:{port}" for port in free_ports(3 + options.nodes)]
        return Addresses(
            fleet=f"{LOOPBACK}:{options.fleet_port}" if options.fleet_port else fleet,
            control=f"{LOOPBACK}:{options.control_port}" if options.control_port else control,
            serverappio=rest[0],
            clientappio=tuple(rest[1:]),
        )

    def _spawn_superlink(self) -> None:
        command = commands.superlink(
            self.addresses,
            self._options.settings,
            database=self._database(),
            storage=self._folder.superlink / "ffs",
            tls=self._options.tls,
        )
        self._spawn(SUPERLINK, command)
        if self._own_executors():
            self._spawn(SUPEREXEC, commands.superexec("serverapp", self.addresses.serverappio))

    def _spawn_supernode(self, index: int) -> None:
        options = self._options
        key = self._keys.make(index) if self._keys else None
        command = commands.supernode(
            index, options.nodes, self.addresses, options.settings, tls=options.tls, key=key
        )
        self._spawn(f"supernode-{index}", command)
        role = f"{SUPEREXEC}-{index}"
        if self._own_executors() and role not in self._children:
            self._spawn_executor(role, index)

    def _spawn_executor(self, role: str, index: int) -> None:
        self._spawn(role, commands.superexec("clientapp", self.addresses.clientappio[index]))

    def _own_executors(self) -> bool:
        return self._options.settings.isolation == "process"

    def _spawn(self, role: str, command: list[str]) -> None:
        options = self._options
        # One folder per process, emptied at each start: Flower writes an app's files in place, so a process
        # could read a partial file of another process, or one left by its own killed predecessor.
        home = self._folder.flwr_home / role
        _recreate(home)
        environment = commands.environment(
            options.environ,
            options.settings,
            nodes=options.nodes,
            token=self._children.table.token,
            flwr_home=home,
        )
        environment[SOCKETS] = str(self._sockets)
        environment[STATE_VARIABLE] = str(self._folder.client_state)
        # Empty rather than absent: the operator's own value is for nodes that are started by hand.
        environment[DATA_CACHE_VARIABLE] = (
            str(self._folder.decoded_data) if options.settings.data_cache else ""
        )
        if role in (SUPERLINK, SUPEREXEC):  # they start the ServerApp
            environment[JOURNAL_VARIABLE] = str(self._folder.journal)
            environment["ONEFLOWER_CLIENTS"] = str(self._options.nodes)
            environment["FL_CHECKPOINT_KEY"] = options.settings.checkpoint_key  # no SuperNode gets it
        if role == SUPERLINK and self._keys:
            environment[KEYS_VARIABLE] = str(self._keys.file)
        log = self._folder.log(role)
        self._children.spawn(role, command, environment=environment, log=log, folder=self._folder.root)


def _recreate(folder: Path) -> None:
    """Create an empty folder in place of one whose content Flower can write again."""
    with state_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
