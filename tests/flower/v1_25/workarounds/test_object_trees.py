"""Objects that a client registers as something else than they are: Flower without and with the workaround."""

from contextlib import suppress

import pytest
from flwr.app import ArrayRecord, RecordDict
from flwr.common.inflatable import get_all_nested_objects, get_object_tree
from flwr.common.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.appio_pb2 import PushAppMessagesRequest
from flwr.proto.message_pb2 import ObjectTree
from flwr.server.superlink.serverappio.serverappio_servicer import ServerAppIoServicer
from flwr.supercore.object_store.sqlite_object_store import SqliteObjectStore
from google.protobuf.message import DecodeError

from oneflower.flower.v1_25.workarounds.delivery import RECALL
from oneflower.flower.v1_25.workarounds.object_trees import DEEPEST, WORKAROUND
from oneflower.flower.v1_25.workarounds.objects import RACE

from ....attacks.attacker import Made, Raw, chunk

FAKE = "f" * 64


@pytest.fixture
def asked(superlink):
    message = superlink.message()
    superlink.push(message)
    superlink.states.state().get_message_ins(superlink.node_id, 1)
    return message


def honest(superlink, asked):
    import numpy as np

    return superlink.reply(asked, RecordDict({"arrays": ArrayRecord([np.zeros(8)])}))


def poison(superlink, reply):
    """Register the array of a reply, whose id can be foretold, with a child that never comes."""
    array = reply.content["arrays"]["0"]
    tree = ObjectTree(object_id=array.object_id, children=[ObjectTree(object_id=FAKE)])
    superlink.objects.store().preregister(superlink.run_id, tree)


def replies(superlink, message):
    return superlink.states.state().get_message_res({message.metadata.message_id})


def depth(tree):
    return 1 + max(map(depth, tree.children)) if tree.children else 0


def pushed_by_the_serverapp(superlink, message, call):
    """Store a message as the ServerApp's API does; its objects have not come yet."""
    servicer = ServerAppIoServicer(superlink.states, None, superlink.objects)
    request = PushAppMessagesRequest(
        run_id=superlink.run_id,
        messages_list=[message_to_proto(remove_content_from_message(message))],
        message_object_trees=[get_object_tree(message)],
    )
    return servicer.PushMessages(request, call)


def delivered(superlink, message):
    return superlink.objects.store().get_object_tree(message.metadata.message_id)


def nested_above(store, run_id, child, levels):
    """Register objects that a client has made up, one in the other, with `child` at the bottom."""
    tree = ObjectTree(object_id=child)
    for index in range(levels):
        tree = ObjectTree(object_id=f"{index:064x}", children=[tree])
    store.preregister(run_id, tree)


def nested_below(store, run_id, parent, levels):
    """Register `parent` with objects that never come, one in the other."""
    tree = ObjectTree(object_id=FAKE)
    for index in range(levels - 1):
        tree = ObjectTree(object_id=f"{index:064x}", children=[tree])
    store.preregister(run_id, ObjectTree(object_id=parent, children=[tree]))


POISONS = {
    "a child that never comes": lambda *given: nested_below(*given, 1),
    "no child": lambda store, run_id, array: store.preregister(run_id, ObjectTree(object_id=array)),
    "deep below it": lambda *given: nested_below(*given, DEEPEST),
    "deep above it": lambda *given: nested_above(*given, DEEPEST),
}


@pytest.fixture
def guarded(superlink, apply):
    for workaround in (RECALL, RACE, WORKAROUND):
        apply(workaround)
    return superlink


def test_with_flower_a_supernode_is_sent_what_a_client_has_made_up(superlink, call):
    message = superlink.message()
    poison(superlink, message)
    pushed_by_the_serverapp(superlink, message, call)
    assert delivered(superlink, message) != get_object_tree(message)


@pytest.mark.parametrize("made_up", POISONS.values(), ids=POISONS)
def test_a_supernode_is_sent_what_the_serverapp_has_registered(guarded, call, made_up):
    """A SuperNode would wait two hours for an object that never comes."""
    message, store = guarded.message(), guarded.objects.store()
    made_up(store, guarded.run_id, message.content["arrays"]["0"].object_id)
    response = pushed_by_the_serverapp(guarded, message, call)
    assert delivered(guarded, message) == get_object_tree(message)
    for object_id, part in get_all_nested_objects(message).items():
        assert object_id in response.objects_to_push
        store.put(object_id, part.deflate())
    assert delivered(guarded, message) == get_object_tree(message)
    assert store.get(message.metadata.message_id)


@pytest.mark.parametrize("made_up", POISONS.values(), ids=POISONS)
def test_a_reply_is_whole_whatever_another_has_registered(guarded, asked, made_up):
    reply, store = honest(guarded, asked), guarded.objects.store()
    made_up(store, guarded.run_id, reply.content["arrays"]["0"].object_id)
    guarded.push(reply)
    assert len(replies(guarded, asked)) == 1
    assert delivered(guarded, reply) == get_object_tree(reply)


@pytest.mark.parametrize("made_up", POISONS.values(), ids=POISONS)
def test_a_message_under_way_is_not_changed_by_what_is_registered_then(guarded, call, made_up):
    message, store = guarded.message(), guarded.objects.store()
    pushed_by_the_serverapp(guarded, message, call)
    with suppress(ValueError):
        made_up(store, guarded.run_id, message.content["arrays"]["0"].object_id)
    assert delivered(guarded, message) == get_object_tree(message)


def put_all(store, made):
    for object_id, content in made.all().items():
        store.put(object_id, content)


def test_with_flower_a_reply_waits_for_what_another_has_made_up(superlink, apply, asked):
    apply(RECALL)
    reply = honest(superlink, asked)
    poison(superlink, reply)
    superlink.push(reply)
    assert replies(superlink, asked) == []


def test_the_children_are_those_of_the_content(superlink, apply, asked):
    for workaround in (RECALL, RACE, WORKAROUND):
        apply(workaround)
    reply = honest(superlink, asked)
    poison(superlink, reply)
    superlink.push(reply)
    assert len(replies(superlink, asked)) == 1
    found = superlink.objects.store().get_object_tree(reply.metadata.message_id)
    assert found == get_object_tree(reply)


def test_an_object_whose_children_are_not_registered_is_not_taken(superlink, apply):
    """It would be here without them when an honest client registers it."""
    apply(WORKAROUND)
    store, leaf = superlink.objects.store(), chunk(b"x")
    made = Made("RecordDict", (leaf,), b"{}")
    store.preregister(superlink.run_id, ObjectTree(object_id=made.id))
    with pytest.raises(ValueError, match="not registered"):
        store.put(made.id, made.content)
    assert store.get(made.id) == b""
    store.preregister(superlink.run_id, made.tree())
    put_all(store, made)
    assert store.get_object_tree(made.id) == made.tree()


def test_objects_are_counted_as_before_when_the_children_were_corrected(superlink, apply, asked):
    """Nothing is left once the reply is deleted, but what the client made up."""
    apply(WORKAROUND)
    reply = honest(superlink, asked)
    poison(superlink, reply)
    store = superlink.objects.store()
    before = len(store)
    superlink.push(reply)
    store.delete(reply.metadata.message_id)
    assert len(store) == before - 1
    assert FAKE in store
    assert reply.content["arrays"]["0"].object_id not in store


def test_an_object_that_was_deleted_while_it_came_is_no_error(superlink, apply, asked, monkeypatch):
    """Its last reader had it at once, and confirmed the message."""
    reply = honest(superlink, asked)
    store, record = superlink.objects.store(), reply.content["arrays"]
    store.preregister(superlink.run_id, get_object_tree(record))
    put = SqliteObjectStore.put

    def put_and_delete(self, object_id, object_content):
        put(self, object_id, object_content)
        self.delete(object_id)

    monkeypatch.setattr(SqliteObjectStore, "put", put_and_delete)
    apply(WORKAROUND)
    store.put(record.object_id, record.deflate())
    assert record.object_id not in store


def chained(store, run_id, levels):
    """Nest objects a few levels at a time: no single tree is deep."""
    made = chunk(b"x")
    store.preregister(run_id, made.tree())
    store.put(made.id, made.content)
    for _ in range(levels):
        made = Made("RecordDict", (made,), b"{}")
        below = [ObjectTree(object_id=child.id) for child in made.children]
        store.preregister(run_id, ObjectTree(object_id=made.id, children=below))
        store.put(made.id, made.content)
    return made


def test_with_flower_a_deep_object_ends_the_run(superlink):
    store = superlink.objects.store()
    deep = chained(store, superlink.run_id, 400)
    with pytest.raises(DecodeError):
        store.get_object_tree(deep.id)


def test_a_deep_object_is_refused(superlink, apply):
    apply(WORKAROUND)
    store = superlink.objects.store()
    chained(store, superlink.run_id, DEEPEST)
    with pytest.raises(ValueError, match="deep"):
        chained(store, superlink.run_id, DEEPEST + 1)


def test_a_chain_that_is_made_by_corrections_ends_as_well(superlink, apply):
    """Each object is registered without its child, which the content then names."""
    apply(WORKAROUND)
    store, made = superlink.objects.store(), [chunk(b"x")]
    for _ in range(2 * DEEPEST):
        made.append(Made("RecordDict", (made[-1],), b"{}"))
    made.reverse()
    for each in made:
        store.preregister(superlink.run_id, ObjectTree(object_id=each.id))
    for each in made:
        store.put(each.id, each.content)
    assert max(depth(store.get_object_tree(each.id)) for each in made) == DEEPEST


def test_a_tree_that_would_double_on_each_level_is_not_built(superlink, apply):
    apply(WORKAROUND)
    store = superlink.objects.store()
    level = [chunk(b"%d" % index) for index in range(40)]
    for _ in range(5):
        level = [
            Raw("", tuple(level), Made("RecordDict", tuple(level), b"%d" % index).content)
            for index in range(40)
        ]
        for each in level:
            flat = [ObjectTree(object_id=child.id) for child in each.children]
            store.preregister(superlink.run_id, ObjectTree(object_id=each.id, children=flat))
    assert not store.get_object_tree(level[0].id).children
