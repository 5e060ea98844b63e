"""Tables at the end of a run: what tests recorded with `record_property("table", [table, row, column])`, counted."""

from collections import Counter
from collections.abc import Iterable

import pytest

PROPERTY = "table"


class Tables:
    """Counts recorded cells of passed tests, from all workers."""

    def __init__(self) -> None:
        self.cells: Counter[tuple[str, str, str]] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            for name, value in report.user_properties:
                if name == PROPERTY and isinstance(value, list | tuple):
                    self.cells[tuple(map(str, value))] += 1  # type: ignore[index]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for table in sorted({cell[0] for cell in self.cells}):
            for line in self.lines(table):
                terminalreporter.write_line(line)

    def lines(self, table: str) -> Iterable[str]:
        """One table as text, with sums."""
        cells = {(row, column): count for (name, row, column), count in self.cells.items() if name == table}
        rows, columns = sorted({row for row, _ in cells}), sorted({column for _, column in cells})
        wide = max(map(len, (*rows, table)))
        yield f"{table:<{wide}}  " + "  ".join(columns) + "  all"
        for row in (*rows, "all"):
            counts = [sum(n for (r, c), n in cells.items() if c == column and row in (r, "all")) for column in columns]
            shown = "  ".join(f"{count:>{len(column)}}" for count, column in zip(counts, columns, strict=True))
            yield f"{row:<{wide}}  {shown}  {sum(counts):>3}"


def register(config: pytest.Config) -> None:
    """Print the tables once, in the controlling process."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Tables(), "tables")
