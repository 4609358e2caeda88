"""Messages of an own loop reach their nodes: lost ones are sent again, and nodes that are away waited for."""

from itertools import count

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.common.constant import ErrorCode

from oneflower.codes import LeftOutCode
from oneflower.flower.refusals import Refusal
from oneflower.flower.who import FORMAT, RECORD, is_question
from oneflower.stock.delivery import MOST_TRIES, Delivery, Parcel

GONE = Error(ErrorCode.NODE_UNAVAILABLE, "the node is gone")
PATIENCE_S = 100.0


class Cluster:
    """Nodes by Flower's ids with their partitions; `answer` says what comes of the n-th message of a node."""

    def __init__(self, **partitions):
        self.nodes = {int(name[1:]): partition for name, partition in partitions.items()}
        self.now, self.sent, self.pulled = 0.0, [], []
        self.answer = lambda node, number: RecordDict({"c": ConfigRecord({"of": node})})
        self._waiting, self._ids = {}, count(1)

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += max(seconds, 0.01)

    def get_node_ids(self):
        return list(self.nodes)

    def push_messages(self, messages):
        ids = []
        for message in messages:
            ids.append(f"m{next(self._ids)}")
            message.metadata.__dict__.update(_message_id=ids[-1], _src_node_id=1, _run_id=1)
            node = message.metadata.dst_node_id
            if not is_question(message):
                self.sent.append(node)
            self._waiting[ids[-1]] = (message, self.sent.count(node))
        return ids

    def pull_messages(self, ids):
        for each in [each for each in ids if each in self._waiting]:
            message, number = self._waiting[each]
            node = message.metadata.dst_node_id
            if is_question(message):
                content = RecordDict(
                    {RECORD: ConfigRecord({"format": FORMAT, "partition": self.nodes.get(node, 0)})}
                )
            else:
                content = self.answer(node, number)
            if content is not None:
                del self._waiting[each]
                self.pulled.append(each)
                yield Message(content, reply_to=message)

    def delivery(self):
        return Delivery(self, patience_s=PATIENCE_S, clock=self.clock, sleep=self.sleep)


def parcel(cluster, node=1000, key="a"):
    def message_for(real):
        return Message(RecordDict({"c": ConfigRecord({"x": 1})}), real, "train")

    return Parcel(key=key, node=node, kind="train", message_for=message_for, posted=cluster.now)


def collected(cluster, delivery, keys=("a",), seconds=60.0):
    found, end = {}, cluster.now + seconds
    while cluster.now < end and len(found) < len(keys):
        found.update(delivery.collect([key for key in keys if key not in found]))
        cluster.now += 0.5
    return found


def test_it_goes_to_the_node_of_the_partition():
    cluster = Cluster(n7=1, n8=0)
    delivery = cluster.delivery()
    assert delivery.online() == [1000, 1001]
    delivery.post([parcel(cluster, 1000, "a"), parcel(cluster, 1001, "b")])
    found = collected(cluster, delivery, ("a", "b"))
    assert {key: reply.content["c"]["of"] for key, reply in found.items()} == {"a": 8, "b": 7}


def test_a_message_that_flower_loses_is_sent_again_once_others_show_how_long_it_takes():
    cluster = Cluster(n7=0, n8=1)
    cluster.answer = lambda node, number: None if node == 7 and number == 1 else RecordDict()
    delivery = cluster.delivery()
    delivery.online()
    delivery.post([parcel(cluster, 1000, "a"), parcel(cluster, 1001, "b")])
    assert set(collected(cluster, delivery, ("a", "b"))) == {"a", "b"}
    assert cluster.sent.count(7) == 2
    assert cluster.now < 20


def test_a_node_that_died_is_waited_for_and_gets_its_message_under_its_new_id():
    cluster = Cluster(n7=0)
    cluster.answer = lambda node, number: GONE if node == 7 else RecordDict()
    delivery = cluster.delivery()
    delivery.online()
    delivery.post([parcel(cluster)])
    cluster.nodes = {}
    assert collected(cluster, delivery, seconds=10) == {}
    cluster.nodes = {9: 0}
    (reply,) = collected(cluster, delivery).values()
    assert reply.metadata.src_node_id == 9
    assert cluster.sent == [7, 9]


def test_a_client_that_dies_of_each_message_gets_few_of_them():
    cluster = Cluster(n7=0)
    cluster.answer = lambda *_: Error(ErrorCode.CLIENT_APP_CRASHED, "out of memory")
    delivery = cluster.delivery()
    delivery.online()
    delivery.post([parcel(cluster)])
    (reply,) = collected(cluster, delivery).values()
    assert reply.error.code == ErrorCode.CLIENT_APP_CRASHED
    assert len(cluster.sent) == MOST_TRIES


@pytest.mark.parametrize(
    "error",
    [
        Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "by hand"),
        Error(ErrorCode.REPLY_MESSAGE_UNAVAILABLE, "larger than FL_MAX_UPDATE_MB"),
        Refusal("unreadable", LeftOutCode.UNREADABLE),
    ],
)
def test_what_the_client_itself_causes_is_not_tried_again(error):
    cluster = Cluster(n7=0)
    cluster.answer = lambda *_: error
    delivery = cluster.delivery()
    delivery.online()
    delivery.post([parcel(cluster)])
    assert len(collected(cluster, delivery)) == 1
    assert len(cluster.sent) == 1


def test_a_node_that_does_not_come_back_is_missing_after_the_patience():
    cluster = Cluster()
    delivery = cluster.delivery()
    delivery.post([parcel(cluster)])
    assert delivery.missing(["a"]) == []
    cluster.now = PATIENCE_S + 1
    assert delivery.missing(["a"]) == ["a"]
    assert delivery.outstanding == 0


def test_replies_that_nobody_waits_for_are_dropped_at_the_superlink():
    cluster = Cluster(n7=0)
    cluster.answer = lambda node, number: RecordDict() if cluster.now > 10 else None
    delivery = cluster.delivery()
    delivery.online()
    delivery.post([parcel(cluster)])
    delivery.give_up(["a"])
    assert not cluster.pulled or cluster.now <= 10
    before, cluster.now = len(cluster.pulled), 20.0
    delivery.post([parcel(cluster, key="b")])
    assert len(cluster.pulled) == before + 1
    assert dict(delivery.collect(["b"])).keys() == {"b"}


def test_nodes_that_were_known_are_waited_for():
    cluster = Cluster(n7=0)
    told = []

    def on_wait(connected, needed):
        told.append((connected, needed))
        cluster.nodes = {7: 0, 8: 1}

    assert cluster.delivery().online_with([1000, 1001], on_wait) == [1000, 1001]
    assert told == [(1, 2)]
    cluster.nodes = {7: 0}
    assert cluster.delivery().online_with([1000, 1001], lambda *_: None) == [1000]
    assert cluster.now >= PATIENCE_S
