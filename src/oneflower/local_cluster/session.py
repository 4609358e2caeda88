"""One `oneflower up`: lock the folder, start the cluster, run the training, end every process."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from oneflower.files import probe
from oneflower.journal import Entry, Journal, Owner, read_patiently
from oneflower.journal.events import TrainingFinished, TrainingInterrupted
from oneflower.local_cluster import commands
from oneflower.local_cluster.folder import set_aside
from oneflower.local_cluster.gpu_check import check_gpus
from oneflower.local_cluster.interrupts import Interrupts
from oneflower.local_cluster.local import ClusterOptions, LocalCluster
from oneflower.local_cluster.place import ClusterPlace
from oneflower.local_cluster.plan import Plan, certificates_given
from oneflower.local_cluster.processes import end, leftovers
from oneflower.local_cluster.tls import Certificates, decode_certificates, make_certificates
from oneflower.procfs import this_process
from oneflower.supervisor.finished import finished_already
from oneflower.supervisor.job import Job, changes
from oneflower.supervisor.memory import Finished, Memory, load
from oneflower.supervisor.supervisor import Supervisor
from oneflower.training.initial_model import check_initial_model_of
from oneflower.training.signing import signer_with
from oneflower.words import counted

LEFTOVER_GRACE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it went. ``finish`` is the journal's ``training_finished``; None for an app that writes none."""

    finish: TrainingFinished | None
    trained: bool


@dataclass(slots=True, kw_only=True)
class Session:
    """Runs a plan. ``say`` and ``warn`` receive lines of text, ``on_event`` the journal's events.

    ``began``: after a failure, whether the folder holds this plan's training, or still an earlier one.
    """

    plan: Plan
    environ: Mapping[str, str]
    say: Callable[[str], None]
    on_event: Callable[[Entry], None]
    warn: Callable[[str], None]
    began: bool = False

    def run(self, *, fresh: bool = False) -> Outcome:
        """Train to the end, or return the result of a training that has finished already.

        Parameters
        ----------
        fresh : bool
            Set an old state aside first (renamed, never deleted).

        Raises
        ------
        OneflowerError
            The training failed; every process that was started has ended by then.
        """
        self.plan.folder.require_database(self.plan.settings.database)
        with Interrupts() as interrupts:
            if fresh:
                self._set_aside(interrupts)
            self.plan.folder.make()
            with self.plan.folder.lock():
                self._end_leftovers(interrupts)
                if not self.plan.settings.data_cache:
                    self.plan.folder.delete_decoded_data()
                finished = self._finished()
                if finished is not None:
                    return Outcome(finish=finished.event, trained=False)
                return Outcome(finish=self._train(interrupts), trained=True)

    def _set_aside(self, interrupts: Interrupts) -> None:
        folder = self.plan.folder
        checkpoints = Path(self.plan.settings.checkpoint_path)
        if folder.is_used():
            folder.make()
            with folder.lock():
                self._end_leftovers(interrupts)
                folder.delete_decoded_data()
                self.say(f"the old state is kept as {set_aside(folder.root)}")
        if self.plan.settings.checkpoint_enabled and checkpoints.is_dir() and any(checkpoints.iterdir()):
            self.say(f"the old checkpoints are kept as {set_aside(checkpoints)}")

    def _end_leftovers(self, interrupts: Interrupts) -> None:
        path = self.plan.folder.processes
        count = end(lambda: leftovers(path), grace_s=LEFTOVER_GRACE_S, hurry=interrupts.hurry)
        if count:
            self.say(
                f"ended {counted(count, 'process', 'processes')} that a killed `oneflower up` had "
                "left running"
            )
        path.unlink(missing_ok=True)

    def _finished(self) -> Finished | None:
        """Return how this training finished earlier; None if it did not, or FL_RESUME goes back."""
        if self.plan.settings.resume != "auto":
            return None
        folder = self.plan.folder
        entries = read_patiently(folder.journal)
        signer = signer_with(self.plan.settings.checkpoint_key, folder.journal)
        return finished_already(self._job(), load(folder.training), entries, say=self.say, signer=signer)

    def _job(self) -> Job:
        plan = self.plan
        return Job(
            fab=plan.fab,
            run_config=plan.run_config(),
            max_restarts=plan.settings.max_restarts,
            nodes=plan.nodes,
        )

    def _train(self, interrupts: Interrupts) -> TrainingFinished | None:
        plan, job = self.plan, self._job()
        self._look_for_gpus()
        cluster = LocalCluster(
            plan.folder,
            ClusterOptions(
                nodes=plan.nodes,
                settings=plan.settings,
                environ=self.environ,
                fleet_port=plan.fleet_port,
                control_port=plan.control_port,
                tls=self._certificates(),
            ),
        )
        cluster.check_ports()
        self._prepare(job)
        self.began = True
        journal = Journal(plan.folder.journal, owner=Owner(process=this_process()))
        place = ClusterPlace(cluster, journal, clock=time.monotonic)
        interrupted = False
        try:
            self.say(
                f"starting a SuperLink and {counted(plan.nodes, 'SuperNode')}; logs in {plan.folder.logs}"
            )
            # A cluster that does not start the first time is reported, not started again.
            place.bring_up(restart=False)
            return Supervisor(
                place=place,
                job=job,
                memory=Memory.fresh(job.describe(), max_restarts=job.max_restarts),
                memory_file=plan.folder.training,
                journal=journal,
                on_event=self.on_event,
                say=self.say,
            ).run()
        except KeyboardInterrupt:
            interrupted = True
            raise
        finally:
            interrupts.stopping()
            cluster.stop(hurry=interrupts.hurry)
            if interrupted:  # the last event: no process of the cluster writes another
                journal.append(TrainingInterrupted())

    def _look_for_gpus(self) -> None:
        found = check_gpus(self.plan.settings, self.environ)
        if found:
            self.warn(f"warning: {found}")

    def _prepare(self, job: Job) -> None:
        """Test that the folders can be written, before anything starts."""
        for change in changes(load(self.plan.folder.training), job.describe()):
            self.say(f"changed since the last start: {change}")
        if self.plan.settings.checkpoint_enabled:
            probe(Path(self.plan.settings.checkpoint_path))
        check_initial_model_of(self.plan.settings)
        self.plan.folder.keep_old_logs()

    def _certificates(self) -> Certificates | None:
        settings, folder = self.plan.settings, self.plan.folder.tls
        if not self.plan.tls:
            return None
        if certificates_given(settings):
            return decode_certificates(
                folder,
                ca=settings.ssl_ca_certfile,
                certificate=settings.ssl_certfile,
                key=settings.ssl_keyfile,
            )
        return make_certificates(folder, commands.hosts())
