"""The embedded cluster, as the supervisor sees it."""

from collections.abc import Callable

from oneflower.flower.control import ControlClient
from oneflower.journal import Journal
from oneflower.journal.events import ClusterStarted
from oneflower.local_cluster.local import LocalCluster
from oneflower.local_cluster.restarter import ProcessRestarter


class ClusterPlace:
    """A cluster that is restarted as a whole when its SuperLink no longer works.

    One recovery for every such failure, without stale nodes or runs.
    """

    def __init__(self, cluster: LocalCluster, journal: Journal, *, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._journal = journal
        self._clock = clock
        self._restarter = self._new_restarter()

    @property
    def control(self) -> ControlClient:
        """The Control API of this boot."""
        return self._cluster.control

    def bring_up(self, *, restart: bool) -> None:
        """Start the cluster if needed and wait until it is up; ClusterError with the end of its logs."""
        if not restart and self._cluster.is_up():
            return
        self._cluster.stop(grace_s=0.0)
        self._restarter = self._new_restarter()
        self._cluster.start()
        self._journal.append(ClusterStarted(nodes=self._cluster.nodes, fleet=self._cluster.addresses.fleet))

    def tend(self) -> None:
        """Restart the processes beside the SuperLink that have died."""
        self._restarter.tend()

    def tails(self) -> str:
        """Return the end of the SuperLink's log."""
        return self._cluster.tails()

    def _new_restarter(self) -> ProcessRestarter:
        return ProcessRestarter(cluster=self._cluster, journal=self._journal, clock=self._clock)
