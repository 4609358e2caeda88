"""What each SuperNode was handed and what it still sends: the SuperLink's account of messages and replies.

It is kept in memory: a SuperLink that restarts has lost its run with all messages of it.
"""

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from oneflower.flower.v1_25.fleet_limits import MAX_HEAD_BYTES, MB, RUN_POOL_BYTES, Limits, RefusedError
from oneflower.flower.v1_25.fleet_sizes import Size
from oneflower.flower.v1_25.questions import REPLIES

HANDED_A_NODE: Final = 8
"""A SuperNode handles one message at a time."""
RUNS: Final = 1_000
TAKEN_WITHIN_S: Final = 600.0
"""So long a complete reply is kept after its message is gone: the ServerApp is pulling it."""


@dataclass(slots=True, kw_only=True)
class Handed:
    """A message that a node was handed: its run, its number of objects, and those that it may still pull."""

    run_id: int
    objects: int
    left: set[str]
    counted: set[str] = field(default_factory=set)
    size: Size = field(default_factory=Size)


@dataclass(slots=True, kw_only=True)
class Upload:
    """An accepted reply: which objects it has, which of them are still to come, and how many bytes came."""

    node_id: int
    run_id: int
    message_id: str
    reply_id: str
    expires: float
    ids: frozenset[str]
    missing: set[str]
    received: int = 0
    from_pool: int = 0


@dataclass(slots=True, kw_only=True)
class Run:
    """A run's largest message, and what its replies have above their shares."""

    largest: int = 0
    objects: int = 0
    pool: int = 0


class TooLargeError(RefusedError):
    """An object takes a reply above a limit; the reply is given up."""

    def __init__(self, upload: Upload, text: str) -> None:
        super().__init__(text)
        self.upload = upload


@dataclass(slots=True)
class Ledger:
    """The account; every method may be called from any thread."""

    limits: Limits
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _handed: defaultdict[int, OrderedDict[str, Handed]] = field(
        default_factory=lambda: defaultdict(OrderedDict)
    )
    _runs: OrderedDict[int, Run] = field(default_factory=OrderedDict)
    _uploads: dict[str, Upload] = field(default_factory=dict)
    _of_node: defaultdict[int, list[Upload]] = field(default_factory=lambda: defaultdict(list))

    # --- messages ---------------------------------------------------------------------------------

    def hand(self, node_id: int, run_id: int, message_id: str, ids: Iterable[str]) -> None:
        """Note a message that is delivered to a node."""
        left = set(ids)
        with self._lock:
            run = self._run(run_id)
            run.objects = max(run.objects, len(left))
            handed = self._handed[node_id]
            handed[message_id] = Handed(run_id=run_id, objects=len(left), left=left)
            while len(handed) > HANDED_A_NODE:
                handed.popitem(last=False)

    def may_pull(self, node_id: int, run_id: int, object_id: str) -> bool:
        """Whether an object is of a message that the node was handed and has not confirmed."""
        with self._lock:
            return self._message_with(node_id, run_id, object_id) is not None

    def pulled(self, node_id: int, run_id: int, object_id: str, content: bytes) -> None:
        """Count an object that a node got: the largest message is the measure of the replies."""
        with self._lock:
            message = self._message_with(node_id, run_id, object_id)
            # It stays in `left`: a SuperNode asks again when the answer was lost on the way.
            if message is not None and content and object_id not in message.counted:
                message.counted.add(object_id)
                message.size.add(object_id, content)
                run = self._run(run_id)
                run.largest = max(run.largest, message.size.num_bytes)
                run.objects = max(run.objects, message.size.objects)

    def received(self, node_id: int, message_id: str) -> bool:
        """Note that a node has all of a message; whether it was handed that message."""
        with self._lock:
            message = self._handed_to(node_id).get(message_id)
            if message is not None:
                message.left = set()
            return message is not None

    def knows_run(self, node_id: int, run_id: int) -> bool:
        """Whether a node was handed a message of a run that it has not answered."""
        with self._lock:
            return any(each.run_id == run_id for each in self._handed_to(node_id).values())

    def most_ids(self, run_id: int) -> int:
        """Return how many objects a reply of a run may have."""
        with self._lock:
            return self.limits.ids(self._runs.get(run_id, Run()).objects)

    # --- replies ----------------------------------------------------------------------------------

    def accept(self, upload: Upload) -> None:
        """Note a reply whose objects are to come."""
        with self._lock:
            self._uploads[upload.reply_id] = upload
            self._of_node[upload.node_id].append(upload)
            self._handed_to(upload.node_id).pop(upload.message_id, None)
        if not upload.missing:
            REPLIES.came()

    def upload(self, node_id: int, reply_id: str) -> Upload | None:
        """Return a reply of a node that the ServerApp has not taken yet."""
        with self._lock:
            found = self._uploads.get(reply_id)
            return found if found is not None and found.node_id == node_id else None

    def take(self, node_id: int, object_id: str, size: int) -> tuple[Upload, bool]:
        """Count an object that a node sends; return its reply and whether it is still to be stored.

        Raises
        ------
        TooLargeError
            The reply would be above a limit.
        RefusedError
            It is of no reply of the node that was accepted.
        """
        with self._lock:
            uploads = [each for each in self._of_node.get(node_id, ()) if object_id in each.ids]
            if not uploads:
                raise RefusedError("the object is of no reply of this SuperNode that was accepted")
            upload = next((each for each in uploads if object_id in each.missing), None)
            if upload is None:
                return uploads[0], False
            from_pool = self._checked(upload, object_id, size)
            self._run(upload.run_id).pool += from_pool - upload.from_pool
            upload.from_pool = from_pool
            upload.received += size
            for each in uploads:
                each.missing.discard(object_id)
        if not upload.missing:
            REPLIES.came()  # the object is stored before this call gives up the lane
        return upload, True

    def give_back(self, upload: Upload, object_id: str, size: int) -> None:
        """Note that an object which was counted is not stored: it was not the one that was announced."""
        with self._lock:
            upload.received -= size
            for each in self._of_node.get(upload.node_id, ()):
                if object_id in each.ids:
                    each.missing.add(object_id)

    def forget(self, reply_id: str) -> Upload | None:
        """Note that a reply was taken or dropped; return it."""
        with self._lock:
            upload = self._uploads.pop(reply_id, None)
            if upload is not None:
                self._run(upload.run_id).pool -= upload.from_pool
                of_node = self._of_node[upload.node_id]
                of_node.remove(upload)
                if not of_node:
                    del self._of_node[upload.node_id]
            return upload

    def unfinished(self, node_id: int) -> list[Upload]:
        """Return the replies of a node of which objects are still to come."""
        with self._lock:
            return [each for each in self._of_node.get(node_id, ()) if each.missing]

    def gone(self, reply_id: str, now: float) -> None:
        """Note that the message of a reply is no longer there: taken, expired, or its node is away."""
        with self._lock:
            upload = self._uploads.get(reply_id)
            if upload is not None:
                upload.expires = min(upload.expires, now)

    def overdue(self, now: float) -> list[Upload]:
        """Return the replies that nobody will take; a ServerApp may be pulling one whose message is gone."""
        with self._lock:
            return [
                each
                for each in self._uploads.values()
                if now > each.expires + (0.0 if each.missing else TAKEN_WITHIN_S)
            ]

    def uploads(self) -> list[Upload]:
        """Return all replies."""
        with self._lock:
            return list(self._uploads.values())

    def leave(self, node_id: int) -> None:
        """Forget what a node was handed."""
        with self._lock:
            self._handed.pop(node_id, None)

    # --- with the lock held -----------------------------------------------------------------------

    def _run(self, run_id: int) -> Run:
        run = self._runs.setdefault(run_id, Run())
        while len(self._runs) > RUNS:
            self._runs.popitem(last=False)
        return run

    def _handed_to(self, node_id: int) -> OrderedDict[str, Handed]:
        return self._handed.get(node_id) or OrderedDict()

    def _message_with(self, node_id: int, run_id: int, object_id: str) -> Handed | None:
        for each in self._handed_to(node_id).values():
            if each.run_id == run_id and object_id in each.left:
                return each
        return None

    def _checked(self, upload: Upload, object_id: str, size: int) -> int:
        """Return what the reply then has from the run's pool."""
        run = self._run(upload.run_id)
        received, most = upload.received + size, self.limits.reply_bytes(run.largest)
        if object_id == upload.reply_id and size > MAX_HEAD_BYTES:
            raise TooLargeError(upload, f"a reply whose head has {size} bytes, of {MAX_HEAD_BYTES}")
        if received > most:
            raise TooLargeError(
                upload,
                f"a reply of more than {most / MB:.0f} MB, the limit after a message of "
                f"{run.largest / MB:.1f} MB. {self.limits.remedy}",
            )
        uploads = [each for each in self._of_node[upload.node_id] if each.run_id == upload.run_id]
        of_node = sum(each.received for each in uploads) + size
        if of_node > self.limits.node_bytes(run.largest):
            raise TooLargeError(
                upload, f"a reply to {of_node / MB:.0f} MB of one node that wait for the ServerApp"
            )
        from_pool = max(0, received - self.limits.share_bytes(run.largest))
        if run.pool + from_pool - upload.from_pool > RUN_POOL_BYTES:
            raise TooLargeError(
                upload,
                f"a reply of {received / MB:.0f} MB while large replies of this run already take "
                f"{run.pool / MB:.0f} MB. {self.limits.remedy}",
            )
        return from_pool
