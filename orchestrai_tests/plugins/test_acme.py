"""What a package of strangers adds passes the suites that it imports; one that is broken does not."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrai.conformance.engine_suite import EngineConformance
from orchestrai.conformance.estimator_suite import EstimatorConformance, Make
from orchestrai.conformance.notifier_suite import NotifierConformance
from orchestrai.conformance.store_suite import StoreConformance
from orchestrai.conformance.table_suite import Fill, Opening, Row, TableConformance
from orchestrai.storage.base import ObjectInfo
from orchestrai.storage.databases.table_port import Relation, TableSnapshot, Wanted, Window
from orchestrai_tests.plugins.acme.engine import SingleEngine
from orchestrai_tests.plugins.acme.journal import Journal, journal
from orchestrai_tests.plugins.acme.linear import Linear
from orchestrai_tests.plugins.acme.pager import Pager
from orchestrai_tests.plugins.acme.shelf import Shelf


class TestShelf(StoreConformance):
    """Its store."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Shelf:
        return Shelf(f"acme-shelf://{tmp_path}/shelf.sqlite")


class TestJournal(TableConformance):
    """Its table."""

    @pytest.fixture
    def fill(self, tmp_path: Path) -> Fill:
        def fill(rows: Sequence[Row]) -> Opening:
            path = tmp_path / "journal.jsonl"
            path.write_text("".join(json.dumps(_line(row)) + "\n" for row in rows))
            return lambda: journal(f"acme-journal://{path}", Relation("readings"))

        return fill


def _line(row: Row) -> dict[str, Any]:
    number, at, words = row
    return {"table": "readings", "id": number, "seen_at": at and at.isoformat(), "words": words}


class TestSingleEngine(EngineConformance):
    """Its engine."""

    @pytest.fixture
    def engine(self) -> SingleEngine:
        return SingleEngine()


class TestPager(NotifierConformance):
    """Its notifier."""

    @pytest.fixture
    def receiver(self, tmp_path: Path) -> Pager:
        return Pager({"file": str(tmp_path / "told.jsonl")})

    @pytest.fixture
    def received(self, tmp_path: Path) -> Callable[[], Sequence[str]]:
        return lambda: (tmp_path / "told.jsonl").read_text().splitlines()

    @pytest.fixture
    def broken(self, tmp_path: Path) -> Pager:
        return Pager({"file": str(tmp_path / "no folder" / "told.jsonl")})


class TestLinear(EstimatorConformance):
    """Its estimator."""

    tasks = ("binary", "regression", "ranking", "forecast")

    @pytest.fixture
    def make(self) -> Make:
        return lambda seed: Linear({"penalty": 2.0}, seed)


class Forgetful(Shelf):
    """Writes over what is there, although it was asked not to."""

    def write(self, key: str, data: Any, *, create: bool = False) -> ObjectInfo:
        return super().write(key, data)


class Unsorted(Shelf):
    """Lists in an order of its own."""

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Any:
        return iter([*super().list(prefix, start_after=start_after)][::-1])


class Miscounting(Journal):
    """Counts what is not in the window."""

    def count(self, wanted: Wanted, window: Window) -> int:
        return super().count(wanted, Window())


def test_the_suite_of_stores_fails_one_that_loses_a_race_or_lists_in_disorder(tmp_path: Path) -> None:
    suite = StoreConformance()
    with pytest.raises(pytest.fail.Exception):
        suite.test_create_refuses_even_equal_bytes(Forgetful(f"acme-shelf://{tmp_path}/a.sqlite"))
    with pytest.raises(AssertionError):
        suite.test_list_goes_in_the_order_of_utf8_bytes(Unsorted(f"acme-shelf://{tmp_path}/b.sqlite"))


def test_the_suite_of_tables_fails_one_that_counts_another_window(tmp_path: Path) -> None:
    from contextlib import nullcontext

    def fill(rows: Sequence[Row]) -> Opening:
        data = "".join(json.dumps(_line(row)) + "\n" for row in rows).encode()
        opened: TableSnapshot = Miscounting(data, "readings")
        return lambda: nullcontext(opened)

    with pytest.raises(AssertionError, match="the count is of the window"):
        TableConformance().test_behind_a_position_the_overlap_is_read_again(fill)


def test_the_suite_of_engines_fails_one_that_gives_rows_in_another_order(tmp_path: Path) -> None:
    from contextlib import contextmanager

    from orchestrai.conformance.generated_views import nasty_files

    class Backwards(SingleEngine):
        @contextmanager  # type: ignore[arg-type]
        def run(self, query: Any) -> Any:  # type: ignore[override]
            with SingleEngine().run(query) as batches:
                yield (batch.take(list(range(batch.num_rows))[::-1]) for batch in batches)

    with pytest.raises(AssertionError, match="SELECT"):
        EngineConformance().test_generated_views_have_the_rows_and_bits_of_the_reference(
            Backwards(), nasty_files(tmp_path), 1
        )
