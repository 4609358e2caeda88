"""Two clients that push one object at the same time."""

import sqlite3
import threading

import pytest
from flwr.common.inflatable import get_object_tree

from oneflower.flower.v1_25.workarounds.objects import RACE

PATIENCE_S = 0.5


class PausedConnection:
    """A database connection that lets others act between looking an object up and inserting it."""

    def __init__(self, connection, meanwhile):
        self._connection = connection
        self._meanwhile = meanwhile

    def __enter__(self):
        return self._connection.__enter__()

    def __exit__(self, *error):
        return self._connection.__exit__(*error)

    def execute(self, statement, *parameters):
        result = self._connection.execute(statement, *parameters)
        if statement.startswith("SELECT object_id, is_available") and self._meanwhile:
            row = result.fetchone()
            self._meanwhile.pop()()
            return type("Row", (), {"fetchone": lambda _: row})()
        return result


@pytest.fixture
def race(superlink):
    """Register an object while another client registers it between this one's two steps."""
    tree = get_object_tree(superlink.message())

    def other():
        superlink.objects.store().preregister(superlink.run_id, tree)

    def run():
        rival = threading.Thread(target=other)

        def meanwhile():
            rival.start()
            rival.join(PATIENCE_S)  # with the workaround it waits for this thread

        store = superlink.objects.store()
        store._conn = PausedConnection(store.conn, [meanwhile])
        try:
            return store.preregister(superlink.run_id, tree)
        finally:
            rival.join()

    return run


def test_flower_refuses_the_second_client(race):
    """B3: the reply is lost."""
    with pytest.raises(sqlite3.IntegrityError, match=r"UNIQUE constraint failed: objects\.object_id"):
        race()


def test_both_clients_register_it(race, superlink, apply):
    apply(RACE)
    assert len(race()) == len(superlink.objects.store())
