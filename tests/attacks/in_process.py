"""The ServerApp's side of a reply in one process: a Grid whose SuperLink is a dictionary of objects."""

from dataclasses import dataclass, field
from types import SimpleNamespace

from flwr.app import Message
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.common.serde import message_to_proto
from flwr.proto import appio_pb2, message_pb2
from flwr.proto.node_pb2 import Node

from oneflower.aggregation import model_schema
from oneflower.flower.grid import RoundGrid
from oneflower.flower.packing_grid import PackingGrid
from oneflower.flower.records import array_views
from oneflower.flower.reply_grid import ReplyGrid
from oneflower.training.phases import Phases
from oneflower.training.replies import parse_update

from .attacker import Asked

NODE = 4711
RUN = 99


@dataclass
class FakeGrid:
    """As much of Flower's GrpcGrid as `ReplyGrid` uses; `replies` holds what answers each message."""

    answer: object = None
    objects: dict = field(default_factory=dict)
    replies: dict = field(default_factory=dict)
    confirmed: list = field(default_factory=list)
    failing: dict = field(default_factory=dict)
    node: Node = field(default_factory=lambda: Node(node_id=SUPERLINK_NODE_ID))
    run: object = field(default_factory=lambda: SimpleNamespace(run_id=RUN))

    @property
    def _stub(self):
        return self

    def get_node_ids(self):
        return [NODE]

    def push_messages(self, messages):
        ids = []
        for message in messages:
            message_id = f"m{len(self.replies):063}"
            message.metadata.__dict__.update(_run_id=RUN, _src_node_id=1, _message_id=message_id)
            self.replies[message_id] = self.answer(Asked(message_to_proto(message), None, message.content))
            ids.append(message_id)
        return ids

    def PullMessages(self, request):  # noqa: N802 - gRPC's name
        found = appio_pb2.PullAppMessagesResponse()
        for message_id in request.message_ids:
            if message_id in self.failing:
                raise self.failing[message_id]
        for message_id in request.message_ids:
            made = self.replies.pop(message_id, None)
            if made is None:
                continue
            self.objects.update(made.all())
            head = found.messages_list.add()
            head.metadata.message_id, head.metadata.reply_to_message_id = made.id, message_id
            found.message_object_trees.append(made.tree())
        return found

    def PullObject(self, request):  # noqa: N802
        if request.object_id in self.failing:
            raise self.failing[request.object_id]
        content = self.objects.get(request.object_id)
        return message_pb2.PullObjectResponse(
            object_found=content is not None,
            object_available=content is not None,
            object_content=content or b"",
        )

    def ConfirmMessageReceived(self, request):  # noqa: N802
        self.confirmed.append(request.message_object_id)
        return message_pb2.ConfirmMessageReceivedResponse()


class ServerSide:
    """What a ServerApp does with one client's replies to train messages, from the pull to the update."""

    def __init__(self, content):
        self.content = content
        self.schema = model_schema(array_views(content["arrays"]))
        self.inner = FakeGrid()
        self.grid = RoundGrid(PackingGrid(ReplyGrid(self.inner)), sleep=lambda _: None)
        self.left_out = []
        self.phases = Phases(grid=self.grid, journal=self, round_timeout_s=0.0)

    def append(self, event):
        """Take an event of the journal."""
        self.left_out.append(event)

    def take(self, answer):
        """Let a client answer a message; return its update, or the event that leaves it out."""
        self.inner.answer = answer
        self.left_out.clear()
        collected = self.phases.collect(
            "train",
            1,
            [Message(self.content, NODE, "train")],
            quorum=lambda _: 1,
            parse=lambda reply: parse_update(reply.message, self.schema, client=reply.node_id),
        )
        assert len(self.inner.confirmed) == 1, self.inner.confirmed
        self.inner.confirmed.clear()
        self.inner.objects.clear()
        if collected.valid:
            return collected.valid[0]
        (event,) = [event for event in self.left_out if event.tag in ("client_quarantined", "client_failed")]
        assert event.client == str(NODE)
        return event
