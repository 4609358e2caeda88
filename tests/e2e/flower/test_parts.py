"""A stock ClientApp trains on the part of the data that the round's message hands to its node."""

import pytest

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("warm", ["YES", "NO"])
def test_a_node_trains_on_the_part_that_it_is_handed(federation, warm):
    federation.superlink()
    federation.supernode(0, member=12, FL_WARM_EXECUTOR=warm)
    lines = federation.run(nodes=1, rounds=2, members="11 13 12")
    assert [line["error"] for line in lines if "node" in line] == [None, None]
    assert [path.suffix for path in federation.folder.glob("results.jsonl.started-*")] == [".started-2"]
