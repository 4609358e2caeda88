"""What the clients train on: GPUs are reported once a round, and another kind after a resume is named.

The same training on another kind of GPU has other bytes. A checkpoint's notes hold the kinds on which the
partitions were trained, where clients say them. A client may claim any: that decides what is reported.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from logging import WARNING
from typing import Any, Final

from oneflower.flower.api import log
from oneflower.flower.client_mark import ClientMark
from oneflower.gpu.readings import LONGEST_NAME, PROCESSOR, short_name
from oneflower.journal.events import DeviceChanged, GpuSeen
from oneflower.newest import Newest

DEVICES: Final = "devices"
"""In a checkpoint's notes, by kind of device: the partitions that were trained on it."""
MOST_KINDS: Final = 16
MOST_KINDS_OF_CLIENT: Final = 2
MOST_PARTITIONS: Final = 1024
MOST_NODES: Final = 4096
"""So many nodes are remembered: a SuperNode that is started again is another."""
MOST_NAMED: Final = 4
"""Changes that a sentence names."""
UNNAMED: Final = "a device that was not named"

Kinds = dict[str, set[int]]
Trained = tuple[int, str]
"""A partition, and the kind of device; or a sentence about it."""


def _newest() -> Newest[Any, Any]:
    return Newest(MOST_NODES)


@dataclass(slots=True, kw_only=True)
class Devices:
    """What the marks of one session say of devices.

    Attributes
    ----------
    before
        The kinds of the checkpoint from which the session was resumed; None where it began with round 1.
    trained
        By Flower's id of the node: its partition and its kind of device of this round, empty where the client
        does not say it. A node has the partition that it names first, and 2 kinds in the checkpoints.
    """

    before: Kinds | None = None
    trained: dict[str, Trained] = field(default_factory=dict)
    _reported_round: int = 0
    _reported: set[str] = field(default_factory=set)
    _taken: ClientMark | None = None
    _partitions: dict[str, int] = field(default_factory=_newest)
    _kinds: dict[str, tuple[str, ...]] = field(default_factory=_newest)
    _told: dict[str, None] = field(default_factory=_newest)
    _said: dict[Trained, None] = field(default_factory=_newest)

    def resumed(self, notes: Mapping[str, Any]) -> None:
        """Take note of what the clients trained on before this session."""
        self.before = kinds_of(notes.get(DEVICES))
        for lost in (self._partitions, self._kinds, self._told, self._said):
            lost.clear()

    def take(self, mark: ClientMark, *, trained: bool) -> None:
        """Take up the mark of a reply; `trained` for a result of training, no error and no evaluation.

        It counts as soon as `seen` says whose mark it is.
        """
        self._taken = mark if trained else None

    def seen(self, server_round: int, client: str, mark: ClientMark) -> GpuSeen | None:
        """Return what is reported of a client's GPUs; None for nothing, and for a second time in a round."""
        if mark is self._taken:
            self._count(client, mark)
        if server_round != self._reported_round:
            self._reported_round = server_round
            self._reported.clear()
        if not (mark.device or mark.gpus) or client in self._reported:
            return None
        self._reported.add(client)
        return GpuSeen(round=server_round, client=client, device=mark.device, gpus=mark.gpus)

    def _count(self, node: str, mark: ClientMark) -> None:
        """Note on what a node has trained; for another partition than its own a node is not believed."""
        self._taken = None
        if mark.partition is None or len(self.trained) >= MOST_PARTITIONS:
            return
        if node not in self._partitions:
            self._partitions[node] = mark.partition
        if mark.partition == self._partitions[node]:
            self.trained[node] = (mark.partition, mark.device)

    def _noted(self) -> Iterator[Trained]:
        """Yield what counts for the checkpoints: of each node its first 2 kinds."""
        for node, (partition, kind) in self.trained.items():
            kinds = self._kinds.get(node, ())
            if kind and kind not in kinds and len(kinds) < MOST_KINDS_OF_CLIENT:
                kinds = self._kinds[node] = (*kinds, kind)
            if kind in kinds:
                yield partition, kind

    def remark(self, notes: MutableMapping[str, Any], server_round: int, rounds: int) -> DeviceChanged | None:
        """Note the kinds of this round for the checkpoints; return what is another than before the resume."""
        changed = {} if self.before is None else _changed(self.before, self.trained)
        new = {
            node: each for node, each in changed.items() if node not in self._told and each not in self._said
        }
        for node, each in new.items():
            self._told[node] = self._said[each] = None
        kinds = with_trained(kinds_of(notes.get(DEVICES)), list(self._noted()))
        if kinds:
            notes[DEVICES] = {kind: sorted(found) for kind, found in sorted(kinds.items())}
        self.trained.clear()
        if not new:
            return None
        reason = _sentence([words for _, words in new.values()])
        log(WARNING, "clients train on another kind of device clients=%d reason=%s", len(new), reason)
        return DeviceChanged(round=server_round, rounds=rounds, clients=len(new), reason=reason)


def kinds_of(noted: object) -> Kinds:
    """Return the kinds that a checkpoint's notes hold, as far as they are such."""
    found: Kinds = {}
    for kind, partitions in noted.items() if isinstance(noted, Mapping) else ():
        if short_name(kind) == kind != "" and isinstance(partitions, list) and len(found) < MOST_KINDS:
            found[kind] = {each for each in partitions[:MOST_PARTITIONS] if type(each) is int}
    return found


def with_trained(kinds: Kinds, trained: Sequence[Trained]) -> Kinds:
    """Return the kinds with those of a round, the most common first: two of a partition, and 16 in all.

    A 17th kind replaces the one with the fewest partitions that nothing of this round was trained on, if it
    has more of them itself: one client that names another kind after each resume does not shut two out.
    """
    found = {kind: set(partitions) for kind, partitions in kinds.items()}
    common = Counter(kind for _, kind in trained)
    for partition, kind in sorted(trained, key=lambda each: (-common[each[1]], each)):
        of_client = sum(partition in partitions for partitions in found.values())
        if not kind or of_client >= MOST_KINDS_OF_CLIENT or not _has_room(found, kind, common):
            continue
        if len(found.get(kind, ())) < MOST_PARTITIONS:
            found.setdefault(kind, set()).add(partition)
    return found


def _has_room(kinds: Kinds, kind: str, of_round: Mapping[str, int]) -> bool:
    """Whether a kind can be noted; room is made for a new one where 16 are noted."""
    if kind in kinds or len(kinds) < MOST_KINDS:
        return True
    idle = [each for each in kinds if each not in of_round]
    fewest = min(idle, key=lambda each: (len(kinds[each]), each), default=None)
    if fewest is None or len(kinds[fewest]) >= of_round[kind]:
        return False
    del kinds[fewest]
    return True


def _changed(before: Kinds, trained: Mapping[str, Trained]) -> dict[str, Trained]:
    """Return by node its partition and what changed; a processor is the same whether named or not."""
    found = {}
    for node, (partition, kind) in trained.items():
        earlier = sorted(each for each, partitions in before.items() if partition in partitions)
        if not earlier and before:
            continue  # a new client: it has trained on nothing before
        if (kind or PROCESSOR) not in (earlier or [PROCESSOR]):
            was = " and ".join(each[:LONGEST_NAME] for each in earlier[:MOST_KINDS_OF_CLIENT]) or UNNAMED
            found[node] = partition, f"on {was} before, on {kind or UNNAMED} now"
    return found


def _sentence(changes: list[str]) -> str:
    unique = sorted(set(changes))
    more = f"; {len(unique) - MOST_NAMED} more changes" if len(unique) > MOST_NAMED else ""
    return f"trained {'; '.join(unique[:MOST_NAMED])}{more}: bytes may differ from an uninterrupted training"
