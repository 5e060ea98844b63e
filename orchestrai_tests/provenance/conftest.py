"""Fixtures of the provenance tests."""

import pytest

from orchestrai_tests.provenance.builder import World


@pytest.fixture
def world() -> World:
    """An empty world in memory."""
    return World()
