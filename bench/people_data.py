"""The data of bench.people, made from a seed, and what is done to it: a new file, a mistyped value, a doubled row, a changed file."""

import csv
import pathlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

DAYS = 60
BEGIN = date(2026, 3, 1)
COLUMNS = ["visit_id", "visited_at", "customer", "channel", "amount"]


@dataclass
class Data:
    """What lies in the folder: days of visits."""

    first: str
    last: str
    # the day that a fault is about, how many rows its file has as it should be, and what their amounts sum to
    day: str
    rows: int = 0
    amount: float = 0.0
    # the sum after the file was changed
    changed: float = 0.0


@dataclass
class Fault:
    """One thing done to the folder, how a product that tells would name it, and what may stand afterwards."""

    title: str
    bad: bool
    names: str
    apply: Callable[[Data, pathlib.Path], None]
    stands: Callable[[dict[str, Any], Data], str]


def visits_of(day: date) -> list[list[str]]:
    """A day's rows: the same whichever days are asked for; some customers come often, some stop."""
    lot = random.Random(day.toordinal())
    rows = []
    for customer in range(400):
        often = 0.02 + 0.3 * ((customer * 7919 % 400) / 400) ** 2
        stopped = customer % 4 == 0 and day.timetuple().tm_yday > 60 + customer / 4
        if lot.random() < often * (0.1 if stopped else 1):
            second = lot.randrange(86_400)
            at = f"{day}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
            rows.append(
                [at, f"C{customer:04d}", lot.choice(["web", "shop", "phone"]), f"{lot.randrange(100, 9000) / 100:.2f}"]
            )
    return [[f"{day:%y%m%d}-{number:03d}", *row] for number, row in enumerate(sorted(rows))]


def write_day(folder: pathlib.Path, day: date, rows: list[list[str]]) -> None:
    """One CSV of a day."""
    with (folder / f"visits_{day}.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


def write_data(folder: pathlib.Path | None) -> Data:
    """Write what a task starts from, where a folder is given, and say what it is."""
    if folder:
        folder.mkdir(parents=True)
        for number in range(DAYS):
            write_day(folder, BEGIN + timedelta(days=number), visits_of(BEGIN + timedelta(days=number)))
    last = str(BEGIN + timedelta(days=DAYS - 1))
    return Data(str(BEGIN), last, last)


def _next_day(data: Data, folder: pathlib.Path, rows: list[list[str]], good: list[list[str]]) -> None:
    day = date.fromisoformat(data.last) + timedelta(days=1)
    write_day(folder, day, rows)
    data.last = data.day = str(day)
    data.rows, data.amount = len(good), round(sum(float(row[4]) for row in good), 2)


def _new_rows(data: Data) -> list[list[str]]:
    return visits_of(date.fromisoformat(data.last) + timedelta(days=1))


def one_more(data: Data, folder: pathlib.Path) -> None:
    """The next day, as it should be."""
    rows = _new_rows(data)
    _next_day(data, folder, rows, rows)


def mistyped(data: Data, folder: pathlib.Path) -> None:
    """The next day, with a word where one amount should be."""
    rows = _new_rows(data)
    wrong = [list(row) for row in rows]
    wrong[5][4] = "twelve"
    _next_day(data, folder, wrong, rows)


def doubled(data: Data, folder: pathlib.Path) -> None:
    """The next day, one of whose rows stands twice."""
    rows = _new_rows(data)
    _next_day(data, folder, [*rows, rows[5]], rows)


def replaced(data: Data, folder: pathlib.Path) -> None:
    """The file of a day that was loaded has another amount in one row."""
    day = date.fromisoformat(data.last) - timedelta(days=10)
    rows = visits_of(day)
    data.day, data.rows, data.amount = str(day), len(rows), round(sum(float(row[4]) for row in rows), 2)
    rows[5][4] = "777.00"
    data.changed = round(sum(float(row[4]) for row in rows), 2)
    write_day(folder, day, rows)


def rows_stand(probe: dict[str, Any], data: Data) -> str:
    """How many of a file's rows can be read."""
    return f"{probe['day']} of its {data.rows} rows stand"


def double_stands(probe: dict[str, Any], data: Data) -> str:
    """Whether the double got in."""
    if probe["day"] == data.rows + 1:
        return "the row stands twice"
    return "the row stands once" if probe["day"] == data.rows else rows_stand(probe, data)


def change_stands(probe: dict[str, Any], data: Data) -> str:
    """Which of both can be read."""
    found = round(probe["amount"], 2)
    named = {data.amount: "the old rows stand", data.changed: "the new rows stand", 0.0: "none of its rows stand"}
    both = "old and new rows stand, each counted" if probe["day"] == 2 * data.rows else f"its amounts sum to {found}"
    return named.get(found, both)


FAULTS = {
    "new": Fault("one new file", False, "", one_more, lambda probe, data: ""),
    "mistyped": Fault("a new file, `twelve` for a number in one row", True, "twelve|amount", mistyped, rows_stand),
    "doubled": Fault("a new file, one row in it twice", True, r"260430-005|visit_id", doubled, double_stands),
    "replaced": Fault("a file that was loaded is changed", True, "2026-04-19", replaced, change_stands),
}
