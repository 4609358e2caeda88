"""The account of what each SuperNode was handed and still sends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.flower.v1_25.fleet_ledger import HANDED_A_NODE, RUNS, Ledger, TooLargeError, Upload
from oneflower.flower.v1_25.fleet_limits import (
    MAX_REASON,
    MB,
    REPLY_EXTRA_BYTES,
    RUN_POOL_BYTES,
    Limits,
    RefusedError,
    short_reason,
)

RUN = 7
MODEL = 100 * MB
CHUNK = 5 * MB


@pytest.fixture
def ledger():
    """An account with one run whose messages have 100 MB."""
    made = Ledger(Limits())
    send_model(made)
    return made


def send_model(ledger, *, node=1, message="m", run=RUN, size=MODEL):
    ids = [f"model-{number}" for number in range(max(1, size // CHUNK))]
    ledger.hand(node, run, message, ids)
    for each in ids:
        ledger.pulled(node, run, each, bytes(min(size, CHUNK)))


def accept(ledger, *, node=1, reply="r", count=1_000, run=RUN):
    ids = {f"{reply}-{number}" for number in range(count)}
    ledger.accept(
        Upload(
            node_id=node,
            run_id=run,
            message_id=f"to-{reply}",
            reply_id=reply,
            expires=1e9,
            ids=frozenset(ids),
            missing=set(ids),
        )
    )


def fill(ledger, size, *, node=1, reply="r", chunk=CHUNK):
    """Send a reply of so many bytes."""
    for number in range(size // chunk):
        ledger.take(node, f"{reply}-{number}", chunk)


class TestReplySize:
    @pytest.mark.parametrize("factor", [1, 2])
    def test_a_model_of_100_mb_and_a_few_times_as_much_is_taken(self, ledger, factor):
        accept(ledger)
        fill(ledger, factor * MODEL)

    def test_more_than_the_limit_is_not(self, ledger):
        accept(ledger)
        fill(ledger, 2 * MODEL + REPLY_EXTRA_BYTES - CHUNK)
        with pytest.raises(TooLargeError, match="FL_MAX_UPDATE_MB") as raised:
            ledger.take(1, "r-999", 2 * CHUNK)
        assert raised.value.upload.reply_id == "r"

    def test_without_a_model_a_reply_may_have_64_mb(self):
        ledger = Ledger(Limits())
        accept(ledger)
        fill(ledger, REPLY_EXTRA_BYTES, chunk=4 * MB)
        with pytest.raises(TooLargeError):
            ledger.take(1, "r-999", 1)

    def test_the_largest_message_of_the_run_counts(self, ledger):
        send_model(ledger, message="small", size=MB)
        accept(ledger)
        fill(ledger, 2 * MODEL)

    def test_an_object_that_is_pulled_twice_counts_once(self):
        ledger = Ledger(Limits())
        ledger.hand(1, RUN, "m", ["a"])
        for _ in range(100):
            ledger.pulled(1, RUN, "a", bytes(MB))
        accept(ledger)
        with pytest.raises(TooLargeError):
            fill(ledger, 100 * MB)

    def test_an_object_that_is_sent_twice_counts_once(self, ledger):
        accept(ledger)
        assert ledger.take(1, "r-0", CHUNK)[1] is True
        for _ in range(1_000):
            assert ledger.take(1, "r-0", CHUNK)[1] is False

    def test_the_operators_limit_replaces_the_models(self):
        ledger = Ledger(Limits(max_update_bytes=20 * MB))
        send_model(ledger)
        accept(ledger)
        fill(ledger, 20 * MB)
        with pytest.raises(TooLargeError, match="more than 20 MB"):
            ledger.take(1, "r-999", 1)


class TestPool:
    def test_large_replies_of_many_nodes_do_not_take_the_room_of_ordinary_ones(self, ledger):
        """Each above its share takes from the pool; an ordinary reply takes nothing from it."""
        refused = 0
        for node in range(2, 40):
            accept(ledger, node=node, reply=f"n{node}")
            try:
                fill(ledger, 2 * MODEL + 60 * MB, node=node, reply=f"n{node}")
            except TooLargeError:
                refused += 1
        assert refused > 15
        accept(ledger, reply="honest")
        fill(ledger, 2 * MODEL, reply="honest")

    def test_a_dropped_reply_gives_back_what_it_had(self, ledger):
        for time in range(RUN_POOL_BYTES // (20 * MB)):
            accept(ledger, reply=f"r{time}")
            fill(ledger, 2 * MODEL + 60 * MB, reply=f"r{time}")
            ledger.forget(f"r{time}")
        assert ledger.uploads() == []

    def test_replies_of_one_node_that_wait_are_bounded(self, ledger):
        for time in range(2):
            accept(ledger, reply=f"r{time}")
            fill(ledger, 2 * MODEL, reply=f"r{time}")
        accept(ledger, reply="last")
        with pytest.raises(TooLargeError, match="of one node"):
            fill(ledger, 2 * MODEL, reply="last")

    def test_those_of_a_run_that_was_lost_do_not_count(self, ledger):
        for run in range(10, 20):
            send_model(ledger, run=run)
            accept(ledger, reply=f"r{run}", run=run)
            fill(ledger, 2 * MODEL, reply=f"r{run}")


class TestNodes:
    def test_an_object_is_of_the_node_that_announced_it(self, ledger):
        accept(ledger)
        with pytest.raises(RefusedError):
            ledger.take(2, "r-0", 1)

    def test_two_nodes_may_send_equal_objects(self, ledger):
        for node in (1, 2):
            ledger.accept(
                Upload(
                    node_id=node,
                    run_id=RUN,
                    message_id=f"m{node}",
                    reply_id=f"r{node}",
                    expires=1e9,
                    ids=frozenset({"equal"}),
                    missing={"equal"},
                )
            )
        assert [ledger.take(node, "equal", 10)[1] for node in (1, 2)] == [True, True]

    def test_a_node_pulls_what_it_was_handed_until_it_has_confirmed(self, ledger):
        ledger.hand(5, RUN, "m5", ["x"])
        assert ledger.may_pull(5, RUN, "x")
        assert not ledger.may_pull(5, RUN + 1, "x")
        assert not ledger.may_pull(6, RUN, "x")
        assert ledger.received(5, "m5")
        assert not ledger.may_pull(5, RUN, "x")

    def test_what_a_node_was_handed_is_bounded(self, ledger):
        for number in range(1_000):
            ledger.hand(5, RUN, f"m{number}", [f"x{number}"])
        assert sum(ledger.may_pull(5, RUN, f"x{number}") for number in range(1_000)) == HANDED_A_NODE

    def test_nobody_makes_runs_by_naming_them(self, ledger):
        for number in range(3 * RUNS):
            ledger.most_ids(1_000_000 + number)
            ledger.may_pull(1, number, "x")
        accept(ledger)
        fill(ledger, 2 * MODEL)


class TestReason:
    @given(st.text())
    def test_it_is_one_printable_line(self, text):
        assert short_reason(text).isprintable()

    @given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=MAX_REASON))
    def test_an_ordinary_one_stays_as_it_is(self, text):
        assert short_reason(text) == text

    def test_a_long_one_is_cut_and_says_so(self):
        assert short_reason("\x00" * 20_000_000).endswith("(19995904 more characters)")
        assert len(short_reason("\x00" * 20_000_000)) < MAX_REASON + 100
