"""A client of the Fleet API that follows no rule but the protocol's: it sends what a test has made by hand.

`Attacker` speaks to a SuperLink as a SuperNode does, one call at a time. `Made` is an object of a message,
as Flower's object store keeps it, whose body and children need not fit each other. `answering` lets an
attacker reply to everything it is asked while a test looks at the training.
"""

import hashlib
import json
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property

import grpc
import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.client.grpc_rere_client.node_auth_client_interceptor import NodeAuthClientInterceptor
from flwr.common.inflatable import get_all_nested_objects, get_object_tree, iterate_object_tree
from flwr.common.inflatable_utils import inflate_object_from_contents
from flwr.proto import fleet_pb2 as fleet
from flwr.proto import heartbeat_pb2, message_pb2, node_pb2
from flwr.proto.fleet_pb2_grpc import FleetStub
from flwr.proto.message_pb2 import Message, Metadata, ObjectTree
from flwr.supercore.primitives.asymmetric import public_key_to_bytes

UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
CALL_S = 60.0
SUPERLINK_NODE_ID = 1


@dataclass(frozen=True)
class Asked:
    """A message of the ServerApp's as it was delivered, with its content where that was fetched."""

    proto: Message
    tree: ObjectTree
    content: RecordDict | None = None

    @property
    def type(self):
        return self.proto.metadata.message_type

    @property
    def id(self):
        return self.proto.metadata.message_id

    @property
    def round(self):
        """The round that its config names, 0 without."""
        config = self.content.config_records.get("config", {}) if self.content else {}
        return config.get("server-round", 0)


class Attacker:
    """One raw connection to a Fleet API, with a key of its own or a given one."""

    def __init__(self, address, *, key=None, credentials=None):
        self.key = key or ec.generate_private_key(ec.SECP384R1())
        self.public = public_key_to_bytes(self.key.public_key())
        self.channel = (
            grpc.insecure_channel(address, UNLIMITED)
            if credentials is None
            else grpc.secure_channel(address, credentials, UNLIMITED)
        )
        signing = NodeAuthClientInterceptor(self.key, self.key.public_key())
        self.fleet = FleetStub(grpc.intercept_channel(self.channel, signing))
        self.id = 0

    # --- a node's life ------------------------------------------------------------------------------

    def register(self):
        request = fleet.RegisterNodeFleetRequest(public_key=self.public)
        self.id = self.fleet.RegisterNode(request, timeout=CALL_S).node_id
        return self.id

    def activate(self, heartbeat_s=30.0):
        request = fleet.ActivateNodeRequest(public_key=self.public, heartbeat_interval=heartbeat_s)
        self.id = self.fleet.ActivateNode(request, timeout=CALL_S).node_id
        return self.id

    def join(self, heartbeat_s=30.0):
        """Register and activate; return this attacker."""
        self.register()
        self.activate(heartbeat_s)
        return self

    def beat(self, heartbeat_s=30.0):
        request = heartbeat_pb2.SendNodeHeartbeatRequest(node=self.node, heartbeat_interval=heartbeat_s)
        return self.fleet.SendNodeHeartbeat(request, timeout=CALL_S).success

    def leave(self):
        """Unregister and hang up; a second call does nothing, nor one when the SuperLink is gone."""
        with suppress(grpc.RpcError, ValueError):
            request = fleet.UnregisterNodeFleetRequest(node_id=self.id)
            self.fleet.UnregisterNode(request, timeout=5.0)
        self.channel.close()

    @property
    def node(self):
        return node_pb2.Node(node_id=self.id)

    # --- messages -----------------------------------------------------------------------------------

    def pull(self, timeout=CALL_S):
        """Ask for a message once; None where there is none."""
        found = self.fleet.PullMessages(fleet.PullMessagesRequest(node=self.node), timeout=timeout)
        if not found.messages_list:
            return None
        return Asked(found.messages_list[0], found.message_object_trees[0])

    def fetch(self, asked, seconds=20.0):
        """Pull a message's objects, confirm it, and return it with its content."""
        run, deadline, contents = asked.proto.metadata.run_id, time.monotonic() + seconds, {}
        for tree in iterate_object_tree(asked.tree):
            while tree.object_id not in contents and time.monotonic() < deadline:
                request = message_pb2.PullObjectRequest(node=self.node, run_id=run, object_id=tree.object_id)
                found = self.fleet.PullObject(request, timeout=CALL_S)
                if found.object_available:
                    contents[tree.object_id] = found.object_content
                else:
                    time.sleep(0.05)
        confirm = message_pb2.ConfirmMessageReceivedRequest(
            node=self.node, run_id=run, message_object_id=asked.id
        )
        self.fleet.ConfirmMessageReceived(confirm, timeout=CALL_S)
        return Asked(asked.proto, asked.tree, inflate_object_from_contents(asked.id, contents).content)

    def next(self, seconds=60.0):
        """Wait for a message and fetch it, with heartbeats; None where none came."""
        deadline, beaten = time.monotonic() + seconds, 0.0
        while time.monotonic() < deadline:
            if time.monotonic() - beaten > 10:
                self.beat()
                beaten = time.monotonic()
            asked = self.pull()
            if asked is not None:
                return self.fetch(asked)
            time.sleep(0.05)
        return None

    def try_push(self, asked, message, **options):
        """Push a reply made by hand; return whether the SuperLink took it with all its objects."""
        try:
            response = self.push(asked, message, **options)
        except grpc.RpcError:
            return False
        return message.id in response.results

    def push(self, asked, message, *, objects=None, tree=None, upload=True, wire=None):
        """Push a reply made by hand; return the SuperLink's response.

        Parameters
        ----------
        message : Made
            The reply's head object, as `reply` makes it.
        objects, tree
            What is uploaded, by id, and the tree that is announced; the message's own without.
        upload : bool or callable
            Whether the objects that the SuperLink asks for are sent; a callable says so for each id.
        wire : dict
            Fields of the message's metadata outside the object; honest ones without.
        """
        given = {"message_id": message.id, "src_node_id": self.id, **(wire or {})}
        request = fleet.PushMessagesRequest(
            node=self.node,
            messages_list=[wire_message(asked, message, **given)],
            message_object_trees=[tree or message.tree()],
        )
        response = self.fleet.PushMessages(request, timeout=CALL_S)
        wanted = upload if callable(upload) else lambda _: upload
        for object_id, content in (objects or message.all()).items():
            if object_id in response.objects_to_push and wanted(object_id):
                self.push_object(asked, object_id, content)
        return response

    def push_object(self, asked, object_id, content):
        request = message_pb2.PushObjectRequest(
            node=self.node,
            run_id=asked.proto.metadata.run_id,
            object_id=object_id,
            object_content=content,
        )
        return self.fleet.PushObject(request, timeout=CALL_S)

    def push_content(self, asked, content, **options):
        """Push a reply whose content is an ordinary RecordDict."""
        return self.push(asked, reply(asked, from_flower(content), src_node_id=self.id), **options)

    def push_error(self, asked, reason="", code=3, **options):
        """Push an error reply."""
        made = reply(asked, src_node_id=self.id, error=(code, reason))
        return self.push(asked, made, **options)


# --- objects made by hand -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """An object of a message: the name of its type, its children, and its body as bytes.

    ``listed`` are the ids that its head names, those of its children without; ``body_length`` and ``head``
    replace what the head says.
    """

    kind: str
    children: tuple = ()
    body: bytes = b""
    listed: tuple | None = None
    body_length: int | None = None
    head: bytes | None = None

    @cached_property
    def content(self):
        ids = [child.id for child in self.children] if self.listed is None else self.listed
        length = len(self.body) if self.body_length is None else self.body_length
        head = f"{self.kind} {','.join(ids)} {length}".encode() if self.head is None else self.head
        return head + b"\x00" + self.body

    @cached_property
    def id(self):
        return hashlib.sha256(self.content).hexdigest()

    def tree(self):
        return ObjectTree(object_id=self.id, children=[child.tree() for child in self.children])

    def all(self):
        """Return the content of this object and of all below it, by id; the head is the last."""
        found = {}
        for child in self.children:
            found.update(child.all())
        return {**found, self.id: self.content}


class Raw(Made):
    """An object whose whole content is given as its body, head included."""

    @cached_property
    def content(self):
        return self.body


def from_flower(record):
    """Return a Flower object as one made by hand, to put beside others."""
    contents = {key: each.deflate() for key, each in get_all_nested_objects(record).items()}

    def made(tree):
        return Raw("", tuple(map(made, tree.children)), contents[tree.object_id])

    return made(get_object_tree(record))


def metrics(**values):
    """Return a MetricRecord; underscores in the names become hyphens."""
    return from_flower(MetricRecord({name.replace("_", "-"): value for name, value in values.items()}))


def chunk(data):
    return Made("ArrayChunk", (), data)


def array(*chunks, order=None, shape=(8,), dtype="float32", stype="numpy.ndarray", **more):
    """Return an Array of chunks; ``order`` lists them by number, as often as it likes."""
    numbers = list(range(len(chunks))) if order is None else order
    body = {"dtype": dtype, "shape": list(shape), "stype": stype, "arraychunk_ids": numbers, **more}
    return Made("Array", tuple(dict.fromkeys(chunks)), json.dumps(body).encode())


def record(kind="RecordDict", **children):
    """Return a record, of records or of arrays, by the names of its children."""
    body = json.dumps({name: child.id for name, child in children.items()}).encode()
    return Made(kind, tuple(dict.fromkeys(children.values())), body)


def reply(asked, *children, src_node_id=None, error=None, **metadata):
    """Return the Message object of a reply; ``metadata`` replaces what is inside of it."""
    message = Message(metadata=honest_metadata(asked, message_id="", **metadata))
    if src_node_id is not None and "src_node_id" not in metadata:
        message.metadata.src_node_id = src_node_id
    if error is not None:
        message.error.code, message.error.reason = error
    return Made("Message", children, message.SerializeToString(deterministic=True))


def wire_message(asked, message, **metadata):
    """Return a reply's message as it is sent beside its objects; an error is repeated in it."""
    sent = Message(metadata=honest_metadata(asked, **metadata))
    inside = Message()
    with suppress(Exception):
        inside = Message.FromString(message.body)
    if inside.HasField("error"):
        sent.error.CopyFrom(inside.error)
    else:
        sent.content.SetInParent()
    return sent


def honest_metadata(asked, **given):
    told, now = asked.proto.metadata, time.time()
    fields = {
        "run_id": told.run_id,
        "src_node_id": told.dst_node_id,
        "dst_node_id": SUPERLINK_NODE_ID,
        "reply_to_message_id": told.message_id,
        "group_id": told.group_id,
        "ttl": told.ttl - (now - told.created_at) - 0.5,
        "message_type": told.message_type,
        "created_at": now,
        **given,
    }
    return Metadata(**fields)


# --- what an honest client of the NumPy app would send ------------------------------------------------


def honest_arrays(asked, fill=0.5):
    """Return arrays of the model's form; a float array is filled with one value."""
    sent = {name: each.numpy() for name, each in asked.content["arrays"].items()}
    return ArrayRecord(
        {name: Array(np.full_like(one, fill) if one.ndim else one) for name, one in sent.items()}
    )


def honest_content(asked, fill=0.5, **numbers):
    """Return the content of a valid reply to a train or evaluate message."""
    given = {"num-examples": 10, **{name.replace("_", "-"): value for name, value in numbers.items()}}
    records = {"metrics": MetricRecord(given)}
    if asked.type == "train":
        records["arrays"] = honest_arrays(asked, fill)
    return RecordDict(records)


class Done(list):
    """The messages that an attacker has answered, and whether its thread has failed."""

    failed = False


@contextmanager
def answering(attacker, answer, *, kinds=("train",)):
    """Reply to messages in a thread: ``answer(attacker, asked)`` to those of `kinds`, an error to others.

    Yields the list of the messages that were answered by ``answer``; what it raised is raised at the end. The
    attacker leaves right after a reply, so that no round waits for it.
    """
    done, raised, stop = Done(), [], threading.Event()

    def answer_one():
        asked = attacker.next(seconds=0.5)
        if asked is None:
            return
        if asked.type in kinds:
            answer(attacker, asked)
            done.append(asked)
        else:
            attacker.push_error(asked, "not today")

    def work():
        try:
            while not stop.is_set():
                answer_one()
            answer_one()
        except Exception as error:  # noqa: BLE001 - the test says it
            raised.append(error)
            done.failed = True
        attacker.leave()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join(60)
    if raised:
        raise raised[0]
