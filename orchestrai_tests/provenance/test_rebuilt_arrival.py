"""After the lake is lost and rebuilt from the vault, the next run of each kind of source neither doubles nor loses an arrival.

The sources outlive the lake: a folder of objects, a stream, a table, an API. Everything else is gone but vault and keys.
"""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrai.core.time.calendar import keys_between
from orchestrai.demo.demo_landing import write_landing
from orchestrai.demo.items_api import items_api
from orchestrai.ingest.dead_letter_list import list_letters
from orchestrai.ingest.discovery.reconciliation import Reconciliation, reconcile
from orchestrai.ingest.sources.stream_log import StreamLog
from orchestrai.ledger.report import StageReport
from orchestrai.pipeline.load import SHIPPED, load_project
from orchestrai.pipeline.reports.landing_status import judge_of
from orchestrai.pipeline.runtime import Runtime
from orchestrai.provenance.recall.rebuild import Recovered, rebuild, recover_bytes
from orchestrai.provenance.verify.audit import audit
from orchestrai.settings import Settings

pytestmark = pytest.mark.e2e
ORDERS, CLICKS, PURCHASES, ITEMS = (
    "churn/orders",
    "recommendations/clicks",
    "recommendations/purchases",
    "recommendations/items",
)


@dataclass
class Shop:
    """Sources in a folder, and a home that takes from them."""

    folder: Path
    url: str
    days: list[str]
    clicks: list[str]

    def runtime(self, home: str) -> Runtime:
        variables = {"ORDERS_URL": str(self.folder / "orders"), "ITEMS_URL": self.url}
        return Runtime(
            Settings(home=self.folder / home), load_project([SHIPPED / "churn", SHIPPED / "recommendations"], variables)
        )

    def keys(self) -> dict[str, list[str]]:
        return {ORDERS: self.days[:3], CLICKS: self.clicks, PURCHASES: self.clicks, ITEMS: ["all"]}

    def run(self, runtime: Runtime, dataset: str, keys: list[str], stage: str = "raw_events") -> StageReport:
        return runtime.run(runtime.project.nodes[f"{dataset}/{stage}"], keys)

    def take(self, runtime: Runtime, *stages: str) -> None:
        for dataset, keys in self.keys().items():
            for stage in stages:
                self.run(runtime, dataset, keys, stage)

    def rebuilt(self, lost: str, name: str) -> tuple[Runtime, Recovered]:
        """A new home with vault, keys and the sources that lie in a home, rebuilt."""
        old, new = self.folder / lost, self.folder / name
        new.mkdir()
        for part in ("vault", "keys", "streams"):
            shutil.copytree(old / part, new / part)
        shutil.copy(old / "shop.sqlite", new)
        runtime = self.runtime(name)
        rebuild(runtime.ledger)
        return runtime, recover_bytes(runtime.ledger, runtime.vault)


def rows(runtime: Runtime) -> dict[str, int]:
    return {
        name: dataset.rows
        for name in (ORDERS, CLICKS, PURCHASES, ITEMS)
        if (dataset := runtime.ledger.find(f"{name}/raw_events"))
    }


def landing(runtime: Runtime) -> Reconciliation:
    return reconcile(judge_of(runtime, runtime.project.nodes[f"{ORDERS}/raw_events"].subject))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    home = folder / "home"
    home.mkdir()
    landed = write_landing(folder, days=28, click_days=2, hours=6, streams=home / "streams", database=home / "shop.sqlite")
    there = [day for day in keys_between(*landed.orders, "day") if (folder / "orders" / f"{day}.csv").exists()]
    days = [day for day in there if day != landed.bad_day][:4]
    (folder / "late").mkdir()
    for file in (folder / "orders").iterdir():
        if file.stem not in days[:3]:
            file.rename(folder / "late" / file.name)
    broken = folder / "orders" / f"{days[0]}.csv"
    broken.write_bytes(broken.read_bytes() + b"broken,row\n")
    with items_api(folder) as url:
        yield Shop(folder, url, days, list(keys_between(*landed.clicks, "day")))


@pytest.fixture(scope="module")
def lived(shop: Shop) -> Runtime:
    """A home that took everything once and backed it up; of the table a part alone was backed up."""
    runtime = shop.runtime("home")
    shop.take(runtime, "raw_events", "snapshot")
    return runtime


def test_the_next_run_finds_nothing_new_and_then_only_what_came(shop: Shop, lived: Runtime) -> None:
    before, letters = rows(lived), list_letters(lived.ledger, f"{ORDERS}/raw_events")
    assert len(letters) == 1
    runtime, recovered = shop.rebuilt("home", "new")
    # of the table most partitions were in no snapshot: they are read again, and the rest is not doubled
    assert [*recovered.dropped] == [f"{PURCHASES}/raw_events"]
    assert list_letters(runtime.ledger, f"{ORDERS}/raw_events") == letters
    assert landing(runtime).counts == {"raw_events": 3, "dead_letters": 0, "waiting": 0, "passed_over": 0}
    shop.take(runtime, "raw_events")
    assert rows(runtime) == before
    again = shop.run(runtime, CLICKS, shop.clicks)
    assert again.facts["records"] == 0
    assert shop.run(runtime, PURCHASES, shop.clicks).facts["rows"] == 0

    late = shop.folder / "late" / f"{shop.days[3]}.csv"
    shutil.copy(late, shop.folder / "orders")
    assert landing(runtime).counts["waiting"] == 1
    shop.run(runtime, ORDERS, [shop.days[3]])
    grown = rows(runtime)
    assert grown[ORDERS] > before[ORDERS] and landing(runtime).counts["waiting"] == 0
    with closing(sqlite3.connect(shop.folder / "new" / "shop.sqlite")) as database, database:
        database.execute("create temp table fresh as select * from purchases order by line_id desc limit 1")
        database.execute("update fresh set line_id = line_id + 1")
        database.execute("insert into purchases select * from fresh")
    shop.run(runtime, PURCHASES, shop.clicks)
    assert rows(runtime)[PURCHASES] == before[PURCHASES] + 1
    assert audit(runtime.ledger.lake, runtime.ledger.keyring, witness=runtime.ledger.vault).ok


def test_a_stream_whose_newest_batch_was_in_no_snapshot_is_read_again_from_there(shop: Shop, lived: Runtime) -> None:
    old = shop.folder / "home"
    with StreamLog(old / "streams", "clicks") as log:
        (first,) = log.read({0: 0}, 1, 1 << 20, 0)
        record = json.loads(first.value or b"")
        with log.writer(lambda: first.time) as writer:
            writer.append([json.dumps({**record, "event_id": f"late-{number}"}).encode() for number in range(3)])
    shop.run(lived, CLICKS, shop.clicks)
    before = rows(lived)
    runtime, recovered = shop.rebuilt("home", "after")
    assert f"{CLICKS}/raw_events" in recovered.dropped
    assert rows(runtime)[CLICKS] < before[CLICKS]
    shop.run(runtime, CLICKS, shop.clicks)
    assert rows(runtime)[CLICKS] == before[CLICKS]
