"""Journals of trainings as they happen: written by the real `Journal`, with a clock of their own."""

import math
import random
from datetime import UTC, datetime, timedelta

import numpy as np

from oneflower.checkpoints import Checkpoint, CheckpointStore, retention_of
from oneflower.codes import LeftOutCode, LossCode, SupervisorState, Task
from oneflower.journal import Journal
from oneflower.journal.events import (
    CheckpointSaved,
    ClientFailed,
    ClientQuarantined,
    ClusterStarted,
    ReplyReceived,
    RoundAggregated,
    RoundCompleted,
    RoundStarted,
    RunLost,
    RunSubmitted,
    SupervisorMoved,
    TrainingFinished,
    TrainingResumed,
    TrainingStarted,
    UpdatesMeasured,
)
from oneflower.quality import as_metrics

NAN = "array 'conv1.weight' holds NaN or infinity; expected finite numbers"


class Scene:
    """Plays a training into a journal. The clock is set so that the last event is as old as `ago_s` says."""

    def __init__(self, path, *, clients=5, rounds=20, seed=1, seconds=6.0):
        self.time = datetime(2026, 11, 24, 5, 0, 0, tzinfo=UTC)
        self.journal = Journal(path, now=lambda: self.time)
        self.rng, self.spread = random.Random(seed), random.Random(seed + 1)
        self.rounds, self.seconds = rounds, seconds
        self.facts = {
            "rounds": rounds,
            "strategy": "Krum",
            "parameters": {"num-malicious": 1},
            "app": "oneflower/image-classification",
        }
        self.new_ids(clients)

    def new_ids(self, clients):
        """A cluster that boots anew gives every node a new id."""
        self.clients = [str(self.rng.getrandbits(64)) for _ in range(clients)]

    def write(self, event, *, after_s=0.0, run=None):
        self.time += timedelta(seconds=after_s)
        self.journal.append(event, run=run)

    def supervise(self, state, reason="", **when):
        self.write(SupervisorMoved(state=state, reason=reason), **when)

    def start(self):
        self.supervise(SupervisorState.WAITING)
        self.submit(run=7)
        self.write(TrainingStarted(**self.facts), after_s=2)

    def resume(self, after):
        self.write(TrainingResumed(round=after, **self.facts), after_s=3)

    def submit(self, run, reason="", **when):
        self.write(ClusterStarted(nodes=len(self.clients), fleet="127.0.0.1:9092"), **when)
        self.supervise(SupervisorState.SUBMITTING, reason)
        self.write(RunSubmitted(app="oneflower/image-classification"), run=run)
        self.supervise(SupervisorState.TRAINING, reason)

    def back_off(self, reason, *, losses=1, delay_s=0.0):
        self.supervise(SupervisorState.LOST, reason, after_s=1)
        lost = RunLost(code=LossCode.SUPERLINK_DOWN, reason=reason, restarts=losses, delay_s=delay_s)
        self.write(lost)
        self.supervise(SupervisorState.BACKING_OFF, reason)

    def lose(self, reason):
        self.back_off(reason)
        self.supervise(SupervisorState.WAITING, reason)
        self.submit(run=8, reason=reason, after_s=4)

    def begin(self, number, *, without=()):
        there = [client for client in self.clients if client not in without]
        self.write(RoundStarted(round=number, rounds=self.rounds, clients=len(there)))
        return there

    def reply(self, number, client, phase=Task.TRAIN):
        took = self.rng.uniform(0.3, 0.6) * self.seconds
        gap = self.seconds / (3 * len(self.clients))
        self.write(ReplyReceived(round=number, phase=phase, client=client, seconds=took), after_s=gap)

    def measure(self, number, clients, far=(), used=None):
        """Write what the updates show: honest ones differ by half, far ones are eight medians away."""
        distances = [self.spread.uniform(0.7, 1.6) * (8 if client in far else 1) for client in clients]
        chosen = [int(client not in far and (used is None or client in used)) for client in clients]
        weights = [each / max(1, sum(chosen)) for each in chosen]
        for start in range(0, len(clients), 500):
            part = slice(start, start + 500)
            self.write(
                UpdatesMeasured(
                    round=number,
                    clients=tuple(clients[part]),
                    distances=tuple(distances[part]),
                    changes=tuple(distances[part]),
                    weights=tuple(weights[part]),
                    selected=tuple(chosen[part]),
                )
            )

    def round(self, number, *, bad=(), silent=(), without=(), far=(), save=False):
        there = self.begin(number, without=without)
        for client in there:
            if client in bad:
                self.quarantine(number, client)
            elif client not in silent:
                self.reply(number, client)
        for client in silent:
            why = {"code": LeftOutCode.NO_ANSWER, "reason": "no answer to train in 12 s"}
            self.write(ClientFailed(round=number, client=client, **why), after_s=1)
        left = [client for client in there if client not in {*bad, *silent}]
        self.write(RoundAggregated(round=number, valid=len(left), seconds=0.031))
        self.measure(number, left, far, used=[self.spread.choice(left)])
        if save:
            self.save(number)
        for client in left:
            self.reply(number, client, Task.EVALUATE)
        self.complete(number, len(left))

    def complete(self, number, valid):
        loss = 2.2 * math.exp(-number / 5) + 0.18 + self.rng.uniform(-0.02, 0.02)
        quality = 0.97 - 0.85 * math.exp(-number / 4) + self.rng.uniform(-0.008, 0.008)
        measured = {
            "train": {"train_loss": loss * 0.9},
            "evaluate": {"eval_loss": loss * 1.05, "eval_acc": quality - 0.02},
            "central": {"loss": loss, "accuracy": quality},
        }
        self.write(
            RoundCompleted(
                round=number,
                rounds=self.rounds,
                valid=valid,
                seconds=self.seconds * self.rng.uniform(0.9, 1.1),
                metrics=as_metrics(measured),
            )
        )

    def save(self, number):
        """Commit a real checkpoint: the page verifies what lies on the disk."""
        arrays = {"conv1.weight": np.full((32, 1, 5, 5), number, np.float32)}
        checkpoint = Checkpoint(
            round=number,
            total_rounds=self.rounds,
            arrays=arrays,
            state={},
            strategy=self.facts["strategy"],
            parameters=self.facts["parameters"],
            app=self.facts["app"],
            seed=42,
            metrics={},
            versions={},
        )
        with CheckpointStore(self.journal.path.parent / "checkpoints", retention=retention_of(3)) as store:
            saved = store.save(checkpoint)
        self.write(
            CheckpointSaved(
                round=number,
                file=str(saved.path),
                size_bytes=saved.size_bytes,
                seconds=saved.seconds,
                sha256=saved.sha256,
            )
        )

    def quarantine(self, number, client):
        why = {"code": LeftOutCode.NOT_FINITE, "reason": NAN}
        self.write(ClientQuarantined(round=number, client=client, **why))

    def finish(self):
        final = {"sha256": "ab" * 32, "path": "/srv/final.npz"}
        self.write(TrainingFinished(round=self.rounds, **final, **self.facts))
        self.supervise(SupervisorState.FINISHED)


def killed_and_resumed(path):
    """Round 9 was lost with the SuperLink; one client sends NaN, one is cut off, then comes back."""
    scene = Scene(path)
    scene.start()
    for number in range(1, 9):
        scene.round(number, bad=scene.clients[1:2] if number in (4, 5) else (), save=number == 5)
    scene.begin(9)
    scene.reply(9, scene.clients[0])
    scene.lose("the superlink has ended: it was killed by SIGKILL")
    scene.new_ids(5)
    scene.resume(5)
    for number in range(6, 13):
        scene.round(
            number,
            bad=scene.clients[2:3] if number >= 11 else (),
            silent=scene.clients[3:4] if number == 8 else (),
            without=scene.clients[3:4] if number == 9 else (),
            save=number == 10,
        )
    scene.begin(13)
    for client in scene.clients[:2]:
        scene.reply(13, client)
    scene.quarantine(13, scene.clients[2])
    return scene


def large(path, *, clients=200, rounds=1000, done=1000):
    """Two hundred clients, a thousand rounds."""
    scene = Scene(path, clients=clients, rounds=rounds, seconds=20.0)
    scene.start()
    for number in range(1, done + 1):
        bad = scene.rng.sample(scene.clients, 2) if number % 50 == 0 else ()
        scene.round(number, bad=bad, save=number % 100 == 0)
    return scene


def attacked(path, *, clients=11, rounds=30):
    """Two of the clients send what points away; the others are honest, with uneven data."""
    scene = Scene(path, clients=clients, rounds=rounds)
    scene.facts["strategy"] = "MultiKrum"
    scene.start()
    for number in range(1, rounds - 5):
        there = scene.begin(number)
        for client in there:
            scene.reply(number, client)
        scene.write(RoundAggregated(round=number, valid=len(there), seconds=0.031))
        far = there[-2:] if number > 4 else there[-1:]
        scene.measure(number, there, far, used=scene.spread.sample(there[:-2], len(there) - 3))
        for client in there:
            scene.reply(number, client, Task.EVALUATE)
        scene.complete(number, len(there))
    return scene
