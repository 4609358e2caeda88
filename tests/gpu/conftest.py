"""A machine on which every layer works; each test breaks one."""

import pytest

from .machine import working


@pytest.fixture
def machine(tmp_path):
    return working(tmp_path)
