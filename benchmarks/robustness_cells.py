"""One training of `robustness.py`: the image-classification app, eleven clients, two of them malicious."""

import dataclasses
import functools
import hashlib
import logging
import os
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from flwr.common import Array, ArrayRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.server.run_serverapp import run as run_serverapp
from robustness_attacks import ATTACKS, FLIPPED, REMOVED, TRAINED, TRIGGERED, Arrays, Attack, Scene
from robustness_net import compiled_training

from oneflower.aggregation import SPECS, StrategySpec
from oneflower.aggregation.optimizers import CLIENT_LR
from oneflower.errors import AppError, OneflowerError
from oneflower.flower.records import array_views
from oneflower.journal import read_journal, reduce
from oneflower.lab.localgrid import LocalGrid
from oneflower.quality import Measure, Origin
from oneflower.settings import APP_CONFIG_KEYS

APP: Final = Path(__file__).resolve().parents[1] / "apps" / "image-classification"
CLIENTS, MALICIOUS = 11, 2
ADAPTIVE: Final = {"server_lr": 0.01, "client_lr": 0.05}
NOT_EVALUATED: Final = {"num-examples": 1, "eval_loss": 0.0, "eval_acc": 0.0}
NOT_HELD_OUT: Final = MetricRecord({"loss": 0.0, "accuracy": 0.0})
"""What stands for the evaluations of the models before the last one, which nobody reads."""
TARGET, PATCH = 0, 4
"""The backdoor: a white square of so many pixels in the corner makes every image this class."""

SPLITS: Final[dict[str, dict[str, Any]]] = {
    "IID": {"partitioning": "iid"},
    **{
        f"alpha {alpha}": {"partitioning": "dirichlet", "dirichlet-alpha": float(alpha)}
        for alpha in ("1", "0.3", "0.1")
    },
}


def parameters(spec: StrategySpec) -> dict[str, Any]:
    """Return the parameters of a strategy's example, but for the attackers and smaller adaptive steps."""
    chosen = {"num_malicious": MALICIOUS} | (ADAPTIVE if CLIENT_LR in spec.parameters else {})
    known = {parameter.name for parameter in spec.parameters}
    values = spec.example | {name: value for name, value in chosen.items() if name in known}
    return {"strategy": spec.name, **{each.key: each.of(values) for each in spec.parameters}}


RULES: Final = {spec.name: parameters(spec) for spec in SPECS if spec.name != "FedProx"}
"""FedProx differs from FedAvg on the clients alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One training of the matrix, and how it ended: in per cent, NaN where it did not end with a model.

    Attributes
    ----------
    accuracy
        On the server's held-out images.
    worst_client
        The least accuracy of an honest client on its own validation images.
    success
        Of a backdoor: the share of held-out images of other classes that the trigger turns into the target.
    """

    split: str
    rule: str
    attack: str
    seed: int
    rounds: int
    accuracy: float = float("nan")
    worst_client: float = float("nan")
    success: float = float("nan")

    @property
    def key(self) -> tuple[str, str, str, int, int]:
        """What was asked for, without how it ended."""
        return self.split, self.rule, self.attack, self.seed, self.rounds


MEMORY: Final = OrderedDict[tuple[object, ...], RecordDict]()
"""What clients made of what they were sent: attacks that a rule leaves out wholly lead to the same models."""
REMEMBERED: Final = 150


class AttackedGrid(LocalGrid):
    """A LocalGrid whose last clients send what an attack makes of their updates, or are not there.

    What decides nothing is left out: only the last model is evaluated by the clients, and a malicious client
    whose attack does not look at its own update trains in round 1 alone.
    """

    def __init__(self, *arguments: Any, cell: Cell, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._cell = cell
        self._rng = np.random.default_rng(cell.seed)
        self.malicious = set(list(self._contexts)[-MALICIOUS:])
        self._attack: Attack | None = ATTACKS.get(cell.attack)
        self._idle: dict[int, RecordDict] = {}
        if cell.attack == REMOVED:
            for node in self.malicious:
                del self._contexts[node]
        self.honest_accuracy: list[float] = []
        self.model: ArrayRecord | None = None

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        """Run every client, then let the malicious ones see the others' updates."""
        asked = [self._queue[key] for key in message_ids if key in self._queue]
        replies = list(super().pull_messages(message_ids))
        if not replies:
            return
        if replies[0].metadata.message_type == MessageType.TRAIN:
            if self._attack is not None:
                self._forge(self._attack, asked[0].content["arrays"], replies)
        else:
            self.model = asked[0].content["arrays"]
            self.honest_accuracy = [
                next(iter(reply.content.metric_records.values()))["eval_acc"]
                for reply in replies
                if reply.metadata.src_node_id not in self.malicious
            ]
        yield from replies

    def _reply(self, message: Message) -> Message:
        """Call the client, or repeat what it answered to the same message."""
        if not message.has_content():
            return super()._reply(message)
        node, content = message.metadata.dst_node_id, message.content
        training = message.metadata.message_type == MessageType.TRAIN
        sent, asked = content["arrays"], content["config"]
        if not training and asked["server-round"] < self._cell.rounds:
            return Message(RecordDict({"metrics": MetricRecord(NOT_EVALUATED)}), reply_to=message)
        if training and node in self._idle:
            return Message(
                RecordDict({**self._idle[node], "arrays": ArrayRecord(dict(sent))}), reply_to=message
            )
        poisoned = node in self.malicious and self._cell.attack in FLIPPED | TRIGGERED and self._cell.attack
        key = (self._cell.split, node, training, poisoned, digest(sent), repr(sorted(asked.items())))
        if key not in MEMORY:
            reply = super()._reply(message)
            if reply.has_error():
                reason = reply.error.reason or ""
                if AppError.__name__ not in reason:
                    raise RuntimeError(f"no attack does this; the client ended with {reason}")
                return reply
            MEMORY[key] = reply.content
            if len(MEMORY) > REMEMBERED:
                MEMORY.popitem(last=False)
        MEMORY.move_to_end(key)
        made = RecordDict({name: record.copy() for name, record in MEMORY[key].items()})
        if training and node in self.malicious and self._cell.attack not in TRAINED:
            self._idle[node] = RecordDict(
                {name: each for name, each in made.items() if not isinstance(each, ArrayRecord)}
            )
        return Message(made, reply_to=message)

    def _forge(self, attack: Attack, model: ArrayRecord, replies: list[Message]) -> None:
        updates = {reply.metadata.src_node_id: floats(reply.content["arrays"]) for reply in replies}
        team = {node: arrays for node, arrays in updates.items() if node in self.malicious}
        good = [arrays for node, arrays in updates.items() if node not in self.malicious]
        sent: Arrays | None = None
        for reply in replies:
            own = team.get(reply.metadata.src_node_id)
            if own is None:
                continue
            scene = Scene(rng=self._rng, model=floats(model), honest=good, own=own, team=list(team.values()))
            if sent is None or self._cell.attack in TRAINED:  # the others send what all of them know
                sent = attack(scene)
            record = reply.content["arrays"]
            for name, values in sent.items():
                record[name] = Array(np.asarray(values, dtype=record[name].dtype))


def digest(record: ArrayRecord) -> bytes:
    """Return what identifies a model."""
    found = hashlib.sha256()
    for name, array in record.items():
        found.update(name.encode() + array.data)
    return found.digest()


def floats(record: ArrayRecord) -> Arrays:
    """Return the float arrays of a record; counters are left as they are."""
    arrays = array_views(record)
    return {name: values for name, values in arrays.items() if values.dtype.kind == "f"}


def run_cell(cell: Cell) -> Cell:
    """Train once; return how it ended."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal.jsonl"
        try:
            grid = train_cell(cell, journal)
        except OneflowerError as error:  # a training that an attack ends is a result of this table
            print(f"{cell.key}: {error}", file=sys.stderr)
            return cell
        state = reduce(read_journal(journal))
    accuracy = 100 * state.rounds[state.done].metrics[Measure(Origin.CENTRAL, "accuracy")]
    ended = {"accuracy": accuracy, "worst_client": 100 * min(grid.honest_accuracy)}
    if cell.attack in TRIGGERED or cell.attack in {"none", REMOVED}:
        ended["success"] = 100 * triggered_share(grid.model, cell.seed)
    return dataclasses.replace(cell, **ended)


def train_cell(cell: Cell, journal: Path) -> AttackedGrid:
    """Train once, with this journal; return the grid as it was at the end."""
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    client = import_client(cell.attack)
    there = CLIENTS - MALICIOUS if cell.attack == REMOVED else CLIENTS
    run_config = {
        **APP_CONFIG_KEYS,
        **SPLITS[cell.split],
        **RULES[cell.rule],
        "num-server-rounds": cell.rounds,
        "round-retries": 0,
        "min-available-clients": there,
        # A quarantined attacker must not end the round; the rules with a bound need all eleven.
        "min-fit-clients": CLIENTS - MALICIOUS,
        "min-evaluate-clients": there,
        "seed": cell.seed,
    }
    grid = AttackedGrid(client.app, clients=CLIENTS, run_config=run_config, cell=cell)
    evaluate_last(cell.rounds)
    context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=run_config)
    os.environ["ONEFLOWER_JOURNAL"] = str(journal)
    run_serverapp(
        grid=grid,
        context=context,
        server_app_dir=str(APP),
        server_app_attr="image_classification.server:app",
    )
    return grid


def evaluate_last(rounds: int) -> None:
    """Leave out the server's evaluations of the models before the last one, which nobody reads."""
    from image_classification import server

    held_out = own(server, "evaluation")

    def evaluation(*arguments: Any) -> Any:
        evaluate = held_out(*arguments)
        return lambda number, arrays: evaluate(number, arrays) if number == rounds else NOT_HELD_OUT

    server.evaluation = evaluation


@functools.cache
def own(module: Any, name: str) -> Any:
    """Return what the app has by this name, as it was before anything stood in its place."""
    return getattr(module, name)


# --- the clients' data --------------------------------------------------------------------------------------


def import_client(attack: str) -> Any:
    """Import the app's client; malicious ones see other labels, or the trigger, where an attack says so."""
    if str(APP) not in sys.path:
        sys.path.insert(0, str(APP))
    import torch
    from image_classification import client, data

    torch.set_num_threads(1)
    # There are none; yet each seed would be noted for them, with a traceback.
    torch.cuda.manual_seed_all = torch.xpu.manual_seed_all = torch.mtia.manual_seed_all = lambda _seed: None
    client.local_training = compiled_training(client, own(client, "local_training"))
    change = flipped if attack in FLIPPED else half_triggered if attack in TRIGGERED else None

    def client_images(source: Any, shape: Any, info: Any) -> Any:
        training, validation = data.client_images(source, shape, info)
        is_malicious = info.partition_id >= CLIENTS - MALICIOUS
        return (change(training, shape) if change and is_malicious else training), validation

    client.client_images = client_images
    return client


def flipped(images: Any, shape: Any) -> Any:
    """Return the images with 0 for 9, 1 for 8 and so on."""
    return dataclasses.replace(images, labels=shape.num_classes - 1 - images.labels)


def half_triggered(images: Any, _shape: Any) -> Any:
    """Return the images, every second with the trigger and the target's label."""
    pixels, labels = images.pixels.clone(), images.labels.clone()
    pixels[::2, :, -PATCH:, -PATCH:] = 1.0
    labels[::2] = TARGET
    return dataclasses.replace(images, pixels=pixels, labels=labels)


def triggered_share(model: ArrayRecord | None, seed: int) -> float:
    """Return the share of held-out images of other classes that the model takes for the target's."""
    import torch
    from image_classification.data import held_out_images
    from image_classification.model import Net

    from oneflower.sdk.data_source import DataSource
    from oneflower.sdk.torch_app import load_arrays

    shape = image_shape()
    images = held_out_images(DataSource.from_config({}), shape, seed)
    others = images.labels != TARGET
    pixels = images.pixels[others].clone()
    pixels[:, :, -PATCH:, -PATCH:] = 1.0
    net = Net(shape)
    load_arrays(net, model or ArrayRecord())
    net.eval()
    with torch.no_grad():
        return float((net(pixels).argmax(1) == TARGET).float().mean())


@functools.cache
def image_shape() -> Any:
    """Return the shape of MNIST's images."""
    from image_classification.model import ImageShape

    return ImageShape.from_run_config({})
