"""The embedded cluster as the place where a supervisor works."""

from collections.abc import Callable

from oneflower.flower.control import ControlClient
from oneflower.journal import Journal
from oneflower.journal.events import ClusterStarted
from oneflower.local_cluster.local import LocalCluster
from oneflower.local_cluster.restarter import ProcessRestarter


class ClusterPlace:
    """A cluster that is booted anew, as a whole, whenever its SuperLink is of no use any more.

    One way back from every such loss, with no stale node and no stale run.
    """

    def __init__(self, cluster: LocalCluster, journal: Journal, *, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._journal = journal
        self._clock = clock
        self._keeper = self._new_keeper()

    @property
    def control(self) -> ControlClient:
        """The Control API of this boot."""
        return self._cluster.control

    def bring_up(self, *, anew: bool) -> None:
        """Return when the cluster is up; ClusterError with the end of the logs where it does not come up."""
        if not anew and self._cluster.is_up():
            return
        self._cluster.stop(grace_s=0.0)
        self._keeper = self._new_keeper()
        self._cluster.start()
        self._journal.append(ClusterStarted(nodes=self._cluster.nodes, fleet=self._cluster.addresses.fleet))

    def tend(self) -> None:
        """Restart the processes beside the SuperLink that have died."""
        self._keeper.tend()

    def tails(self) -> str:
        """Return the end of the SuperLink's log."""
        return self._cluster.tails()

    def _new_keeper(self) -> ProcessRestarter:
        return ProcessRestarter(cluster=self._cluster, journal=self._journal, clock=self._clock)
