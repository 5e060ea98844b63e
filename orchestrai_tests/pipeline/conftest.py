"""The same few days as the command line's tests."""

from orchestrai_tests.cli.conftest import days, generated, landing, make

__all__ = ["days", "generated", "landing", "make"]
