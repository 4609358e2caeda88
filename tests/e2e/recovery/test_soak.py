"""A hundred seconds of random faults; `make soak` does thirty minutes."""

import pytest
from soak import soak

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1500)]


def test_after_random_faults_every_round_stands_once_and_the_model_is_the_same(tmp_path, numpy_app):
    summary = soak(tmp_path, numpy_app, seconds=100, seed=3)
    assert sum(summary["faults"].values()) >= 2
