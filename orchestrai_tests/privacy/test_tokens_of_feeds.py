"""Streams and tables whose contract tokenises columns: nobody in clear in lake or vault, nobody back after an erasure."""

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrai.errors import ConfigError, DeclarationError, IntegrityError
from orchestrai.ingest.dead_letter_list import list_letters
from orchestrai.ingest.sources.stream_log import StreamLog
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.privacy.persons import PersonKeys
from orchestrai.privacy.tokens import PERSON, reveal
from orchestrai.provenance.erasure.erasure import erase
from orchestrai.settings import Settings
from orchestrai.storage.local import LocalStore
from orchestrai_tests.ingest.conftest import NOW
from orchestrai_tests.privacy.test_tokens import ANNA, BERT, DAY, RAW, TEXT, holds
from orchestrai_tests.running import replay

PIPELINE = """\
pipeline: shop
owner: team:shop
datasets:
  - name: orders
    source: SOURCE
    contract: orders.contract.yaml
    partitions: {grain: day, start: 2011-03-01, end: 2011-03-03}
    backup: {every: "0 4 * * *", keep: {daily: 7}}
"""
SOURCES = {
    "stream": "{url: 'log://orders', format: jsonl}",
    "table": "{url: 'sqlite:///shop.sqlite', format: sql, sql: {table: orders, watermark: at, overlap: 5m}}",
}
DDL = "CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, at TEXT, customer TEXT, email TEXT, amount TEXT)"


class Feed:
    """A producer's stream or table, and the deployed pipeline that follows it."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.kind, self.home, self.declared = kind, folder / "home", folder / "shop"
        self.declared.mkdir()
        self.home.mkdir()
        (self.declared / "pipeline.yaml").write_text(PIPELINE.replace("SOURCE", SOURCES[kind]))
        self.declare(TEXT)
        self.count = 0

    def declare(self, contract: str) -> Runtime:
        (self.declared / "orders.contract.yaml").write_text(contract)
        self.runtime = Runtime(Settings(home=self.home), load_project([self.declared], {}), clock=lambda: NOW)
        return self.runtime

    def send(self, *persons: str, amount: str = "9.5") -> None:
        rows = []
        for person in persons:
            at = f"{DAY} 10:{self.count // 60:02d}:{self.count % 60:02d}"
            rows.append((f"o{self.count}", at, person, f"mail{person}@example.org", amount))
            self.count += 1
        self._put(rows)

    def _put(self, rows: Sequence[tuple[str, ...]]) -> None:
        names = ("id", "at", "customer", "email", "amount")
        if self.kind == "stream":
            values = [json.dumps(dict(zip(names, row, strict=True))).encode() for row in rows]
            with StreamLog(self.home / "streams", "orders").writer(lambda: NOW) as writer:
                writer.append(values)
            return
        with sqlite3.connect(self.home / "shop.sqlite") as database:
            database.execute(DDL)
            database.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?)", rows)
        database.close()

    def run(self) -> None:
        for stage in ("raw_events", "snapshot", "restored"):
            report = self.runtime.run(self.runtime.project.nodes[f"shop/orders/{stage}"], [DAY])
            assert not report.refused, report.refused

    @property
    def keys(self) -> PersonKeys:
        return PersonKeys(LocalStore(self.home / "keys" / "persons"))

    def persons(self) -> list[str | None]:
        opened = self.runtime.ledger.open("shop/orders/restored")
        with opened.fetched([DAY]) as files:
            return [text for f in files[DAY] for text in pq.read_table(f.path).column("customer").to_pylist()]

    def readable(self, person: str) -> int:
        key = self.keys.peek(person)
        found = 0
        for text in self.persons():
            try:
                found += text == person or (key is not None and text is not None and reveal(key, PERSON, text) == person)
            except IntegrityError:
                continue
        return found


@pytest.fixture(params=["stream", "table"])
def feed(request: pytest.FixtureRequest, tmp_path: Path) -> Feed:
    return Feed(tmp_path, request.param)


def test_an_erasure_leaves_no_readable_row_of_a_stream_or_table(feed: Feed) -> None:
    feed.send(ANNA, BERT, ANNA)
    feed.run()
    feed.send(ANNA, BERT)
    feed.send(ANNA, amount="two")
    feed.run()
    assert (feed.readable(ANNA), feed.readable(BERT), len(feed.persons())) == (3, 2, 5)
    lake, vault = LocalStore(feed.home / "lake"), LocalStore(feed.home / "vault")
    assert not holds(ANNA, lake, vault)
    (letter,) = list_letters(feed.runtime.ledger, RAW)
    assert (letter.text, letter.sha256, letter.column) == ("", "", "amount") and "two" not in letter.reason
    done = erase(feed.runtime.ledger, feed.keys, ANNA)
    assert done.partitions and done.complete
    assert (feed.readable(ANNA), feed.readable(BERT)) == (0, 2)
    feed.send(ANNA, BERT, ANNA)
    feed.run()
    assert (feed.readable(ANNA), feed.readable(BERT), len(feed.persons())) == (0, 3, 6)
    assert not holds(ANNA, lake, vault)


def test_a_batch_of_erased_persons_alone_moves_on(feed: Feed) -> None:
    feed.send(ANNA, BERT)
    feed.run()
    erase(feed.runtime.ledger, feed.keys, ANNA)
    feed.send(ANNA)
    feed.run()
    feed.send(BERT)
    feed.run()
    assert (feed.readable(BERT), len(feed.persons())) == (2, 3)


def test_a_partition_is_not_half_in_clear(feed: Feed) -> None:
    plain = TEXT.replace(", customProperties: [{property: tokenise, value: true}]", "").replace(
        "  - {property: person, value: customer}\n", ""
    )
    feed.declare(plain)
    feed.send(ANNA)
    feed.run()
    feed.declare(TEXT)
    feed.send(BERT)
    with pytest.raises(ConfigError, match="as before \\(none\\), found a contract that tokenises customer, email"):
        feed.run()
    assert feed.persons() == [ANNA]


def test_letters_of_which_nothing_was_kept_are_not_replayed(feed: Feed) -> None:
    feed.send(BERT)
    feed.send(ANNA, amount="two")
    feed.run()
    node = feed.runtime.project.dataset("shop/orders")
    with pytest.raises(ConfigError, match="have the producer send them again"):
        replay(
            feed.runtime.ledger,
            asset=RAW,
            landing=None,
            source=node.spec.source,
            contract=node.contract,
            grain="day",
            now=NOW,
        )
    assert len(list_letters(feed.runtime.ledger, RAW)) == 1


def test_rows_known_by_a_tokenised_column_are_refused_when_declared(feed: Feed) -> None:
    keyed = TEXT.replace("required: true, primaryKey: true}", "required: true}").replace(
        "      - name: customer\n        physicalType: STRING\n",
        "      - name: customer\n        physicalType: STRING\n        primaryKey: true\n",
    )
    with pytest.raises((ConfigError, DeclarationError), match="known by columns that are not tokenised, found customer"):
        feed.declare(keyed)
