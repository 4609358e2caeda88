"""Second replies, and replies that cannot be handed on: Flower without and with the workaround."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from flwr.app import ConfigRecord, MetricRecord, RecordDict

from oneflower.flower.v1_25.workarounds.one_reply import WORKAROUND


def asked(superlink):
    message = superlink.message()
    superlink.push(message)
    superlink.states.state().get_message_ins(superlink.node_id, 1)
    return message


def reply_to(superlink, message, value=1.0, **metadata):
    reply = superlink.reply(message, RecordDict({"metrics": MetricRecord({"loss": value})}))
    reply.metadata.__dict__.update({f"_{name}": given for name, given in metadata.items()})
    return reply


def replies(superlink, message):
    return superlink.states.state().get_message_res({message.metadata.message_id})


def test_flower_fails_on_two_replies_whenever_it_is_asked_for_them(superlink):
    message = asked(superlink)
    for value in (1.0, 2.0):
        superlink.push(reply_to(superlink, message, value))
    with pytest.raises(KeyError):
        replies(superlink, message)


def test_the_first_reply_counts_and_the_second_is_refused(superlink, apply):
    apply(WORKAROUND)
    message = asked(superlink)
    first, second = (reply_to(superlink, message, value) for value in (1.0, 2.0))
    assert superlink.push(first) == first.metadata.message_id
    assert superlink.push(second) is None
    (found,) = replies(superlink, message)
    assert found.metadata.message_id == first.metadata.message_id


def test_of_replies_that_race_one_is_taken(superlink, apply):
    apply(WORKAROUND)
    message = asked(superlink)
    sent = [reply_to(superlink, message, float(value)) for value in range(16)]

    def store(reply):
        return superlink.states.state().store_message_res(reply)

    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(store, sent))
    assert sum(each is not None for each in stored) == 1
    assert len(replies(superlink, message)) == 1


@pytest.mark.parametrize("field", ["created_at", "ttl"])
def test_times_that_are_no_numbers_are_refused(superlink, apply, field):
    """SQLite keeps NaN as NULL, and Flower then fails on the arithmetic of it."""
    apply(WORKAROUND)
    message = asked(superlink)
    assert superlink.push(reply_to(superlink, message, **{field: float("nan")})) is None
    assert replies(superlink, message) == []


def test_flower_fails_on_a_time_that_is_no_number(superlink):
    message = asked(superlink)
    superlink.push(reply_to(superlink, message, created_at=float("nan")))
    with pytest.raises(TypeError):
        replies(superlink, message)


def test_a_reply_that_claims_another_run_is_refused(superlink, apply):
    """Flower stores it, and its PullMessages raises when the ServerApp asks."""
    message = asked(superlink)
    state = superlink.states.state()
    other = state.create_run("a/b", "1.0.0", "hash", {}, "", ConfigRecord(), "")
    reply = reply_to(superlink, message, run_id=other)
    assert superlink.push(reply) is not None
    apply(WORKAROUND)
    second = asked(superlink)
    assert superlink.push(reply_to(superlink, second, run_id=other)) is None


def test_content_beside_the_objects_is_not_kept(superlink, apply):
    apply(WORKAROUND)
    message = asked(superlink)
    superlink.push(reply_to(superlink, message))
    (found,) = replies(superlink, message)
    assert found.has_content()
    assert not found.content
