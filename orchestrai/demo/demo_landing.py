"""Write what the demo's producers send, to landing objects or to streams: the same bytes for the same seed."""

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np

from orchestrai.core.progress import Progress
from orchestrai.core.time.calendar import partition_of
from orchestrai.demo.catalogue import make_customers, make_items
from orchestrai.demo.demo_database import Purchases, purchases
from orchestrai.demo.devices import BATCH_MINUTES, Fleet, garble
from orchestrai.demo.shop import SATURDAY, Shop, midnight, spoil
from orchestrai.demo.topics import Topic, topics
from orchestrai.errors import ConfigError

END = date(2026, 10, 30)
DAYS = 182
SOLD_BEFORE_CLICKS = 28
CLICK_DAYS = 63
HOURS = 36
CUSTOMERS = 2400
DEVICES = 24
BAD_DAY_BEFORE_END = 9
BAD_BATCH_BEFORE_END = 4 * 60 // BATCH_MINUTES
LEAST_DAYS = 28


@dataclass(frozen=True)
class LandingSummary:
    """What was written. `bad_day` is the planted day of orders, to be refused; `bad_batch` the planted micro-batch of
    readings (its object's name, were it one), whose broken records belong in the dead letters. Spans are first and last partition
    keys; `size` is in bytes, streams included, `objects` counts landed objects.
    """

    folder: Path
    orders: tuple[str, str]
    clicks: tuple[str, str]
    readings: tuple[str, str]
    bad_day: str
    bad_batch: str
    objects: int
    rows: int
    size: int

    @property
    def spans(self) -> dict[str, tuple[str, str]]:
        """First and last partition to backfill, by shipped pipeline."""
        return {"churn": self.orders, "recommendations": self.clicks, "telemetry": self.readings}


def write_landing(
    landing: Path,
    *,
    seed: int = 7,
    days: int = DAYS,
    end: date = END,
    click_days: int = CLICK_DAYS,
    hours: int = HOURS,
    scale: int = 1,
    streams: Path | None = None,
    database: Path | None = None,
    progress: Progress | None = None,
) -> LandingSummary:
    """Write `orders/`, `clicks/`, `items/` and `readings/` under `landing`; existing objects of the same name are replaced.

    With `streams`, clicks and readings go to the topics of these names in that folder instead, each record once. With `database`,
    the order lines are also written to an SQLite file, from four weeks before the first click on, the planted day as it should have been.
    `scale` multiplies customers and devices, and so the rows; memory grows with a few days, not with all of them. Idempotent: the same
    arguments give the same bytes. Raises ConfigError for fewer than 28 days.
    """
    if days < LEAST_DAYS or click_days > days or hours < 6 or scale < 1:
        raise ConfigError(
            f"expected at least {LEAST_DAYS} days, no more click days than days, 6 hours and a scale of 1, "
            f"found {days}, {click_days}, {hours} and {scale}: give more days"
        )
    with ExitStack() as stack:
        sent = stack.enter_context(topics(streams, "clicks", "readings")) if streams else {}
        writer = _Writer(landing, progress, days + hours * 60 // BATCH_MINUTES, sent)
        sold = stack.enter_context(purchases(database)) if database else None
        return _written(writer, sold, seed, days, end, click_days, hours, scale)


def _written(
    writer: "_Writer", sold: Purchases | None, seed: int, days: int, end: date, click_days: int, hours: int, scale: int
) -> LandingSummary:
    first = end - timedelta(days=days - 1)
    bad_day = end - timedelta(days=BAD_DAY_BEFORE_END)
    bad_day -= timedelta(days=bad_day.weekday() == SATURDAY)
    items = make_items()
    rng = np.random.default_rng([seed, 0])
    shop = Shop(rng, items, make_customers(rng, CUSTOMERS * scale, days, items), first)
    order_days: list[str] = []
    for made in shop.days(days, click_days):
        if made.orders:
            text = spoil(made.orders) if made.day == bad_day else made.orders
            writer.put(f"orders/{made.day}.csv", text, header=1)
            order_days.append(str(made.day))
            if sold and made.day > end - timedelta(days=click_days + SOLD_BEFORE_CLICKS):
                sold.add(made.day, made.orders)
        if made.clicks:
            writer.send("clicks", str(made.day), made.clicks, midnight(made.day + timedelta(days=1)))
        writer.step("shop days")
    writer.put("items/items.jsonl", _lines(items.as_records(midnight(first) - timedelta(days=30))))
    start = midnight(end + timedelta(days=1)) - timedelta(hours=hours)
    bad_start = start + timedelta(hours=hours) - timedelta(minutes=BAD_BATCH_BEFORE_END * BATCH_MINUTES)
    for batch in Fleet(np.random.default_rng([seed, 1]), DEVICES * scale).batches(start, hours):
        text = garble(batch.text) if batch.start == bad_start else batch.text
        writer.send("readings", f"{batch.start:%Y-%m-%dT%H-%M}", text, batch.start + timedelta(minutes=BATCH_MINUTES))
        writer.step("micro-batches")
    return LandingSummary(
        folder=writer.folder,
        orders=(order_days[0], order_days[-1]),
        clicks=(str(end - timedelta(days=click_days - 1)), str(end)),
        readings=(partition_of(start, "hour"), partition_of(start + timedelta(hours=hours - 1), "hour")),
        bad_day=str(bad_day),
        bad_batch=f"readings/{bad_start:%Y-%m-%dT%H-%M}.jsonl",
        objects=writer.objects,
        rows=writer.rows,
        size=writer.size,
    )


class _Writer:
    def __init__(self, folder: Path, progress: Progress | None, steps: int, sent: dict[str, Topic]) -> None:
        self.folder, self.progress, self.steps, self.sent = folder, progress, steps, sent
        self.done = self.objects = self.rows = self.size = 0

    def put(self, key: str, text: str, header: int = 0) -> None:
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        data = text.encode()
        # a sensor may be watching the folder: an object appears whole or not at all
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(data)
        partial.replace(path)
        self.objects += 1
        self.rows += text.count("\n") - header
        self.size += len(data)

    def send(self, topic: str, name: str, text: str, arrived: datetime) -> None:
        """A batch of JSON records as a producer sends it: to the topic, or as one object where there is none."""
        if topic not in self.sent:
            self.put(f"{topic}/{name}.jsonl", text)
            return
        data = text.encode()
        self.sent[topic].send(data.splitlines(), arrived)
        self.rows += text.count("\n")
        self.size += len(data)

    def step(self, what: str) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(what, self.done, self.steps)


def _lines(records: list[dict[str, str | float]]) -> str:
    import json

    return "".join(json.dumps(record) + "\n" for record in records)
