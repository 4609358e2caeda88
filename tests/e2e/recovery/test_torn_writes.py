"""Two kills inside the write of 100 MB; `make torn-writes` does twenty."""

import pytest
from torn_writes import torn_writes

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1200)]


def test_killed_inside_a_write_of_100_mb_the_training_resumes_from_the_round_before(tmp_path, numpy_app):
    assert torn_writes(tmp_path, numpy_app, kills=2, seed=3)["kills inside a write"] == 2
