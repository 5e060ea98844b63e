"""What every engine of features must do, as tests for pytest: the bits of the reference, on data that no float sum survives.

class TestMyEngine(EngineConformance):
    @pytest.fixture
    def engine(self) -> Engine:
        return MyEngine()
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrai.conformance.generated_views import START, battery, differing_bits, nasty_files, query_of, table_of
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import Engine, Query

Files = Mapping[str, Path]


class EngineConformance:
    """Subclass it with a fixture `engine`; every test is of the protocol in `orchestrai.features.engines.engine`.

    The reference is DuckDB as orchestrai runs it: the same rows in the same order, each double with the same bits.
    """

    @pytest.fixture
    def files(self, tmp_path: Path) -> dict[str, Path]:
        """Readings and orders with ties, extremes, leap days, nulls, and zeros of either sign."""
        return nasty_files(tmp_path)

    @pytest.mark.parametrize("seed", range(4))
    def test_generated_views_have_the_rows_and_bits_of_the_reference(self, engine: Engine, files: Files, seed: int) -> None:
        for view, as_of in battery(seed, 5):
            query = query_of(view, dict(files), as_of)
            _require_equal(engine, query)

    def test_rows_outside_of_what_is_to_be_kept_do_not_come(self, engine: Engine, files: Files) -> None:
        keep = (START + timedelta(minutes=10), START + timedelta(minutes=40))
        views = [view for view, _ in battery(1, 30) if view.kind == "row"][:3]
        assert views
        for view in views:
            query = replace(query_of(view, dict(files)), keep=keep)
            _require_equal(engine, query)
            moments = table_of(engine, query).column(view.time).to_pylist()
            assert all(keep[0] <= moment < keep[1] for moment in moments)

    def test_what_is_of_later_than_its_source_may_be_seen_is_seen_by_nothing(self, engine: Engine, files: Files) -> None:
        views = [view for view, _ in battery(2, 30) if view.kind == "row"][:3]
        for view in views:
            query = query_of(view, dict(files))
            early = {name: replace(one, until=START + timedelta(minutes=30)) for name, one in query.sources.items()}
            _require_equal(engine, replace(query, sources=early))

    def test_rows_by_slice_come_in_order_within_each(self, engine: Engine, files: Files) -> None:
        view = next(view for view, _ in battery(3, 30) if view.kind == "row")
        _require_equal(engine, replace(query_of(view, dict(files)), slices=timedelta(minutes=15)))

    def test_the_same_query_gives_the_same_bits_twice(self, engine: Engine, files: Files) -> None:
        view, as_of = next(battery(5, 1))
        query = query_of(view, dict(files), as_of)
        with engine.resident(view, {name: [set(one.files)] for name, one in query.sources.items()}):
            first = table_of(engine, query)
        assert differing_bits(first, table_of(engine, query)) == []

    def test_the_name_says_which_version_computed(self, engine: Engine) -> None:
        assert any(mark.isdigit() for mark in engine.name)


def _require_equal(engine: Engine, query: Query) -> None:
    expected, found = table_of(DuckDbEngine(threads=1), query), table_of(engine, query)
    differing = differing_bits(expected, found)
    assert not differing, f"{', '.join(differing)} of {query.view.sql}"
