"""How `up` ends: its last event says so where it was interrupted."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from oneflower.errors import ClusterError
from oneflower.journal.events import TrainingInterrupted
from oneflower.local_cluster import session
from oneflower.local_cluster.folder import StateFolder
from oneflower.local_cluster.interrupts import Interrupts

from ..making import events_in


class Cluster:
    """One that is up at once; what it holds when it is stopped is what was written until then."""

    nodes = 2
    addresses = SimpleNamespace(fleet="")
    control = None
    stopped_with: list[object]

    def __init__(self, folder, _options):
        self.journal = folder.journal

    def check_ports(self):
        pass

    def is_up(self):
        return True

    def stop(self, *, hurry):
        Cluster.stopped_with = events_in(self.journal) if self.journal.exists() else []


@pytest.fixture
def ended_by(tmp_path, monkeypatch):
    def run(error):
        def supervise(**_fields):
            raise error

        monkeypatch.setattr(session, "LocalCluster", Cluster)
        monkeypatch.setattr(session, "Supervisor", supervise)
        monkeypatch.setattr(session.Session, "_prepare", lambda *_: None)
        monkeypatch.setattr(session.Session, "_look_for_gpus", lambda _: None)
        monkeypatch.setattr(session.Session, "_certificates", lambda _: None)
        monkeypatch.setattr(session.Session, "_job", lambda _: SimpleNamespace(describe=dict, max_restarts=1))
        folder = StateFolder(tmp_path)
        plan = SimpleNamespace(folder=folder, nodes=2, settings=None, fleet_port=0, control_port=0)
        tried = session.Session(plan=plan, environ={}, say=str, warn=str, on_event=id)
        with pytest.raises(type(error)):
            tried._train(Interrupts())
        return events_in(folder.journal) if Path(folder.journal).exists() else []

    return run


def test_an_interruption_is_the_last_event_after_every_process_has_ended(ended_by):
    assert ended_by(KeyboardInterrupt())[-1] == TrainingInterrupted()
    assert TrainingInterrupted() not in Cluster.stopped_with


def test_an_error_is_no_interruption(ended_by):
    assert TrainingInterrupted() not in ended_by(ClusterError("no"))
