"""What every table must do that is read on behind a watermark, as tests for pytest.

    class TestMyTables(TableConformance):
        @pytest.fixture
        def fill(self, tmp_path: Path) -> Fill:
            def fill(rows: Sequence[Row]) -> Opening: ...
            return fill

`fill` makes the table `readings` with the columns `id` (a whole number), `seen_at` (a time in UTC, which may be null) and `words` (text),
holding just these rows, and returns what opens a snapshot of it.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta

import pytest

from orchestrai.storage.databases.table_port import Paging, Reached, TableSnapshot, Wanted, Window

Row = tuple[int, datetime | None, str | None]
Opening = Callable[[], AbstractContextManager[TableSnapshot]]
Fill = Callable[[Sequence[Row]], Opening]

_BEGIN = datetime(2026, 11, 20, 10, tzinfo=UTC)
_WANTED = Wanted(("id", "words"), frozenset({"words"}), ("seen_at", "id"), timed=True, numbers=frozenset({"id"}))
_PAGES = Paging(page_rows=3, limit_rows=1_000)


def _row(number: int, seconds: float, words: str | None = "w") -> Row:
    return number, _BEGIN + timedelta(seconds=seconds), words


def _read(opening: Opening, window: Window, paging: Paging = _PAGES) -> list[tuple[object, ...]]:
    """The rows of a window: id, words, and the sorting columns as text."""
    with opening() as table:
        batches = list(table.batches(_WANTED, window, paging))
        assert all(batch.num_rows <= paging.page_rows for batch in batches)
        rows = [tuple(row) for batch in batches for row in zip(*(c.to_pylist() for c in batch.columns), strict=True)]
        counted = table.count(_WANTED, window)
    assert counted == len(rows) or len(rows) == paging.limit_rows, "the count is of the window that is read"
    return rows


def _ids(rows: Sequence[tuple[object, ...]]) -> list[object]:
    return [row[0] for row in rows]


class TableConformance:
    """Subclass it with a fixture `fill`; every test is of the protocol in `orchestrai.storage.databases.table_port`."""

    def test_the_first_window_has_every_row_in_order_of_watermark_and_key(self, fill: Fill) -> None:
        opening = fill([_row(3, 20), _row(1, 10), _row(2, 10), _row(4, 0.5)])
        rows = _read(opening, Window())
        assert _ids(rows) == [4, 1, 2, 3]
        # the sorting columns come once more, as text: the watermark, then the key
        assert [str(row[-1]) for row in rows] == ["4", "1", "2", "3"]
        moments = [datetime.fromisoformat(str(row[-2])) for row in rows]
        assert moments == sorted(moments) and moments[1].replace(tzinfo=UTC) == _BEGIN + timedelta(seconds=10)

    def test_texts_come_as_they_are(self, fill: Fill) -> None:
        texts = ["", " a ", "NULL", "é", "a'b\"c", "line\nline", "tab\t", None]
        opening = fill([_row(number, number, text) for number, text in enumerate(texts)])
        assert [row[1] for row in _read(opening, Window())] == texts

    def test_rows_without_a_watermark_are_in_no_window_and_told(self, fill: Fill) -> None:
        opening = fill([_row(1, 1), (2, None, "w"), (3, None, "w")])
        assert _ids(_read(opening, Window())) == [1]
        with opening() as table:
            facts = table.facts("seen_at")
        assert facts["null_watermarks"] == 2 and facts["snapshot"] and "oldest_transaction_seconds" in facts

    def test_behind_a_position_the_overlap_is_read_again(self, fill: Fill) -> None:
        opening = fill([_row(number, 10 * number) for number in range(6)])
        reached = Reached(str(_read(opening, Window())[3][-2]))
        assert _ids(_read(opening, Window(after=reached))) == [3, 4, 5]
        assert _ids(_read(opening, Window(after=reached, overlap=timedelta(seconds=10)))) == [2, 3, 4, 5]

    @pytest.mark.parametrize("limit", [1, 2, 3, 7])
    def test_slices_that_are_cut_between_rows_of_one_moment_miss_none_and_repeat_none(self, fill: Fill, limit: int) -> None:
        opening = fill([_row(number, number // 4) for number in range(13)])
        found: list[object] = []
        after = None
        for _ in range(20):
            rows = _read(opening, Window(after=after), Paging(page_rows=2, limit_rows=limit))
            found += _ids(rows)
            if len(rows) < limit:
                break
            after = Reached(str(rows[-1][-2]), (str(rows[-1][-1]),))
        assert found == list(range(13))

    def test_a_window_ends_with_the_row_that_it_is_to_end_with(self, fill: Fill) -> None:
        opening = fill([_row(number, number // 2) for number in range(8)])
        rows = _read(opening, Window())
        until = Reached(str(rows[4][-2]), (str(rows[4][-1]),))
        assert _ids(_read(opening, Window(until=until))) == [0, 1, 2, 3, 4]
        assert _ids(_read(opening, Window(until=Reached(until.watermark)))) == [0, 1, 2, 3, 4, 5]

    def test_an_empty_table_has_an_empty_window(self, fill: Fill) -> None:
        assert _read(fill([]), Window()) == []
