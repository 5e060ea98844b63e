"""Datasets with tokenised columns: nobody in clear in lake or vault, nobody back after an erasure."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrai.contracts.contract import Contract
from orchestrai.errors import ConfigError, IntegrityError
from orchestrai.ingest.dead_letter_list import list_letters
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.privacy.persons import PersonKeys
from orchestrai.privacy.tokens import PERSON, reveal
from orchestrai.provenance.erasure.erasure import erase, plan_erasure
from orchestrai.restore.folder import restore_folder
from orchestrai.settings import load_settings
from orchestrai.storage.base import Store
from orchestrai.storage.local import LocalStore
from orchestrai.vault.vault import Vault
from orchestrai_tests.ingest.conftest import NOW, contract_of
from orchestrai_tests.running import ingest, replay, restore, snapshot

RAW, KEPT, BACK = "shop/orders/raw_events", "shop/orders/snapshot", "shop/orders/restored"
DAY, NEXT = "2011-03-01", "2011-03-02"
TEXT = """\
kind: DataContract
apiVersion: v3.0.2
name: orders
version: 1.0.0
schema:
  - name: orders
    properties:
      - {name: id, physicalType: STRING, required: true, primaryKey: true}
      - {name: at, physicalType: TIMESTAMP, required: true}
      - name: customer
        physicalType: STRING
        customProperties: [{property: canonical, value: integer}]
      - {name: email, physicalType: STRING, customProperties: [{property: tokenise, value: true}]}
      - {name: amount, physicalType: DOUBLE, required: true}
customProperties:
  - {property: eventTime, value: at}
  - {property: person, value: customer}
  - {property: volume, value: none}
"""
HEADER = "id,at,customer,email,amount\n"
ANNA, BERT = "71001", "71002"


def rows(customer: str, count: int = 3, day: str = DAY, start: int = 0, amount: str = "9.5") -> str:
    """Orders of one customer, whose id and address are found by a search for the id."""
    return "".join(
        f"{customer[-1]}-{day}-{start + i},{day} 10:00:00,{customer}.0,mail{customer}@example.org,{amount}\n"
        for i in range(count)
    )


class Shop:
    """A home: ledger, vault, key store and landing."""

    def __init__(self, folder: Path, landing: LocalStore, text: str = TEXT) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.landing, self.contract = landing, contract_of(text, folder)
        self.lake, self.store, self.secret = (LocalStore(folder / name) for name in ("lake", "vault", "persons"))
        signer = load_or_create_signer(folder / "keys")
        self.ledger = Ledger(self.lake, signer, vault=self.store)
        self.vault = Vault(self.store, signer, workers=0)
        self.keys = PersonKeys(self.secret)

    def put(self, key: str, text: str) -> None:
        self.landing.write(key, text.encode())

    def run(self, *days: str, recover: bool = False) -> StageReport:
        return ingest(
            self.ledger,
            asset=RAW,
            landing=self.landing,
            source=SourceSpec(url="landing", format="csv"),
            contract=self.contract,
            grain="day",
            partitions=days or (DAY,),
            now=NOW,
            recover=recover,
            persons=self.keys,
        )

    def back_up(self, *days: str) -> None:
        snapshot(self.ledger, self.vault, source=RAW, asset=KEPT, partitions=list(days or (DAY,)))

    def restored(self, *days: str) -> None:
        restore(
            self.ledger,
            self.vault,
            snapshot=KEPT,
            asset=BACK,
            partitions=list(days or (DAY,)),
            audit=lambda partition, files, sound: (),
        )

    def table(self, asset: str = RAW) -> pa.Table:
        opened = self.ledger.open(asset)
        with opened.fetched(sorted(opened.partitions)) as files:
            return pa.concat_tables(
                [pq.read_table(f.path, partitioning=None) for key in sorted(files) for f in files[key]]
            ).combine_chunks()

    def readable(self, person: str, table: pa.Table | None = None) -> int:
        """Rows that lead to a person: in clear, or under the key that the key store has."""
        key = self.keys.peek(person)
        table = self.table() if table is None else table
        texts = table.column("customer").to_pylist()
        return sum(text == person or (key is not None and opens(key, text, person)) for text in texts)


def opens(key: bytes, text: str, person: str) -> bool:
    try:
        return reveal(key, PERSON, text) == person
    except IntegrityError:
        return False


def everything(*stores: LocalStore) -> Iterator[bytes]:
    """The bytes of every object of stores, Parquet pages decoded."""
    for store in stores:
        for info in store.list():
            yield info.key.encode()
            yield store.read(info.key)
            path = store.local_path(info.key)
            if info.key.endswith(".parquet") and path is not None:
                yield str(pq.read_table(path, partitioning=None).to_pylist()).encode()


def holds(text: str, *stores: LocalStore) -> bool:
    return any(text.encode() in data for data in everything(*stores))


@pytest.fixture
def shop(tmp_path: Path, landing: LocalStore) -> Shop:
    return Shop(tmp_path / "home", landing)


def test_nothing_of_a_person_reaches_lake_or_vault_in_clear(shop: Shop) -> None:
    shop.put(f"{DAY}.csv", HEADER + rows(ANNA) + rows(BERT))
    report = shop.run()
    assert not report.refused and report.rows == 6
    shop.back_up()
    shop.restored()
    assert not holds(ANNA, shop.lake, shop.store, shop.secret)
    assert all(entry.role == "data" for entry in shop.ledger.open(RAW).files(DAY).files)
    assert shop.ledger.open(RAW).files(DAY).stats["tokenised"]["columns"] == ["customer", "email"]
    # the number that pandas wrote as 71001.0 is one person with 71001
    assert shop.readable(ANNA) == shop.readable(ANNA, shop.table(BACK)) == 3
    (material,) = shop.ledger.open(RAW).receipt(DAY).materials
    assert material.uri.endswith(f"{DAY}.csv")


def test_tokens_are_equal_across_runs_in_a_home_and_different_in_another(shop: Shop, tmp_path: Path) -> None:
    shop.put(f"{DAY}.csv", HEADER + rows(ANNA))
    shop.put(f"{NEXT}.csv", HEADER + rows(ANNA, day=NEXT))
    first = shop.run(DAY)
    shop.run(NEXT)
    table = shop.table()
    assert len(set(table.column("customer").to_pylist())) == len(set(table.column("email").to_pylist())) == 1
    for name in ("lake", "vault"):
        shutil.rmtree(tmp_path / "home" / name)
    assert Shop(tmp_path / "home", shop.landing).run(DAY).version == first.version
    other = Shop(tmp_path / "other", shop.landing)
    assert other.run(DAY).version != first.version
    assert not set(other.table().column("customer").to_pylist()) & set(table.column("customer").to_pylist())


def test_a_second_run_of_the_same_objects_commits_nothing(shop: Shop) -> None:
    shop.put(f"{DAY}.csv", HEADER + rows(ANNA))
    assert shop.run().version == shop.run().version
    assert shop.ledger.head(RAW).seq == 1  # type: ignore[union-attr]


def test_after_an_erasure_no_snapshot_however_old_gives_the_person_back(shop: Shop, tmp_path: Path) -> None:
    for number in range(3):
        # every day brings a late object, so that there is a snapshot of each state
        shop.put(f"{DAY}.{number}.csv", HEADER + rows(ANNA, 2, start=2 * number) + rows(BERT, 1, start=number))
        assert not shop.run().refused
        shop.back_up()
    snapshots = shop.vault.snapshots()
    assert len({commit.version for commit in snapshots}) == 3
    key = shop.keys.peek(ANNA)
    assert key is not None
    for moment, expected in (("before", [2, 4, 6]), ("after", [0, 0, 0])):
        found, others = [], []
        for commit in snapshots:
            target = tmp_path / moment / commit.snapshot_id
            target.parent.mkdir(exist_ok=True)
            restore_folder(shop.vault, commit, target)
            table = pa.concat_tables([pq.read_table(path, partitioning=None) for path in sorted(target.rglob("*.parquet"))])
            found.append(shop.readable(ANNA, table))
            others.append(shop.readable(BERT, table))
        assert sorted(found) == expected
        assert sorted(others) == [1, 2, 3]
        if moment == "before":
            assert len(erase(shop.ledger, shop.keys, ANNA).partitions) == 3
    shop.restored()
    assert shop.readable(ANNA, shop.table(BACK)) == 0
    assert not any(key in data for data in everything(shop.lake, shop.store, shop.secret))
    assert not holds(ANNA, shop.lake, shop.store, shop.secret)


def test_reading_the_landing_again_does_not_bring_an_erased_person_back(shop: Shop) -> None:
    shop.put(f"{DAY}.csv", HEADER + rows(ANNA) + rows(BERT))
    shop.run()
    erase(shop.ledger, shop.keys, ANNA)
    report = shop.run()
    assert (report.rows, report.facts["erased_rows"]) == (3, 3)
    assert shop.keys.peek(ANNA) is None
    shop.put(f"{NEXT}.csv", HEADER + rows(ANNA, day=NEXT))
    shop.run(DAY, NEXT)
    assert shop.readable(ANNA) == 0 and shop.readable(BERT) == 3
    assert shop.run(DAY).version == shop.ledger.open(RAW).version


def test_planning_an_erasure_finds_every_version_that_holds_the_person(shop: Shop) -> None:
    shop.put(f"{DAY}.csv", HEADER + rows(ANNA))
    shop.put(f"{NEXT}.csv", HEADER + rows(BERT, day=NEXT))
    shop.run(DAY, NEXT)
    plan = plan_erasure(shop.ledger, shop.keys, ANNA)
    assert [place[:2] for place in plan.partitions] == [(RAW, DAY)]


def test_an_object_that_left_the_landing_stays_as_the_tokens_it_became(shop: Shop) -> None:
    shop.put(f"{DAY}.a.csv", HEADER + rows(ANNA, 400) + rows(ANNA, 2, start=900, amount="two"))
    shop.run()
    letters = list_letters(shop.ledger, RAW)
    shop.landing.delete(f"{DAY}.a.csv")
    shop.put(f"{DAY}.b.csv", HEADER + rows(BERT, 400))
    report = shop.run()
    assert (report.rows, report.refused) == (800, ())
    assert (shop.readable(ANNA), shop.readable(BERT)) == (400, 400)
    assert list_letters(shop.ledger, RAW) == letters
    again = shop.run()
    assert again.version == report.version and shop.ledger.head(RAW).seq == 2  # type: ignore[union-attr]
    erase(shop.ledger, shop.keys, ANNA)
    assert shop.run().rows == 800 and shop.readable(ANNA) == 0


def test_an_object_sent_again_replaces_its_part(shop: Shop) -> None:
    shop.put(f"{DAY}.a.csv", HEADER + rows(ANNA, 5))
    shop.put(f"{DAY}.b.csv", HEADER + rows(BERT, 5))
    shop.run()
    shop.put(f"{DAY}.a.csv", HEADER + rows(ANNA, 2))
    shop.landing.delete(f"{DAY}.b.csv")
    assert shop.run().rows == 7


def test_a_copy_under_another_key_brings_no_token_twice_also_when_one_of_them_is_gone(shop: Shop) -> None:
    shop.put(f"{DAY}.csv", HEADER + rows(ANNA))
    before = shop.run().version
    shop.put(f"archive/{DAY}.csv", HEADER + rows(ANNA))
    report = shop.run()
    assert (report.rows, report.version, report.facts["repeated_objects"]) == (3, before, 1)
    shop.landing.delete(f"{DAY}.csv")
    # the copy can be read, so it stands for what is left as a part only
    assert shop.run().rows == 3
    shop.landing.delete(f"archive/{DAY}.csv")
    assert shop.run().rows == 3


def test_a_column_tokenised_later_needs_the_object_again(shop: Shop, tmp_path: Path) -> None:
    fewer = TEXT.replace(", customProperties: [{property: tokenise, value: true}]", "")
    whole, shop.contract = shop.contract, contract_of(fewer, tmp_path)
    shop.put(f"{DAY}.csv", HEADER + rows(ANNA))
    version = shop.run().version
    shop.landing.delete(f"{DAY}.csv")
    shop.contract = whole
    assert "sent again" in shop.run().refused[0].verdicts[0].message
    assert shop.ledger.open(RAW).version == version
    shop.put(f"{DAY}.csv", HEADER + rows(ANNA))
    assert shop.run().rows == 3


def test_originals_kept_before_a_contract_tokenised_are_read_and_kept_no_more(shop: Shop, tmp_path: Path) -> None:
    plain = TEXT.replace("  - {property: person, value: customer}\n", "").replace(
        ", customProperties: [{property: tokenise, value: true}]", ""
    )
    whole, shop.contract = shop.contract, contract_of(plain, tmp_path)
    shop.put(f"{DAY}.csv", HEADER + rows(ANNA))
    shop.run()
    shop.landing.delete(f"{DAY}.csv")
    shop.contract = whole
    assert shop.run().rows == 3
    assert all(entry.role == "data" for entry in shop.ledger.open(RAW).files(DAY).files)
    assert shop.run().rows == 3 and shop.readable(ANNA) == 3


def test_dead_letters_and_quarantine_of_a_tokenised_dataset_name_nobody(shop: Shop) -> None:
    good = HEADER + rows(BERT, 300)
    # an address slipped into the number, a row cut short, and a file without its header
    shop.put(f"{DAY}.a.csv", good + rows(ANNA, 1, amount=f"mail{ANNA}@example.org") + f"x,{ANNA}\n")
    assert not shop.run().refused
    letters = list_letters(shop.ledger, RAW)
    assert [(x.record, x.column, x.text) for x in letters] == [(301, "amount", ""), (302, "", "")]
    assert letters[0].reason == "expected DOUBLE" and letters[0].offset > 0
    shop.put(f"{NEXT}.csv", rows(ANNA, 3, day=NEXT))
    assert shop.run(NEXT).refused
    shop.put(f"{NEXT}.csv", HEADER + rows(ANNA, 3, day=NEXT, amount=f"mail{ANNA}@example.org"))
    assert "mail" not in shop.run(NEXT).refused[0].verdicts[0].message
    assert list(shop.lake.list(f"quarantine/{RAW}/"))
    assert not holds(ANNA, shop.lake, shop.store)


def test_a_large_object_is_tokenised_too(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrai.ingest.partition.SMALL_BYTES", 10_000)
    count = 1000
    shop.put(f"{DAY}.csv", HEADER + rows(BERT, count) + rows(ANNA, 1, amount="two") + rows(ANNA, 2, start=5))
    shop.keys.destroy(BERT)
    report = shop.run()
    assert (report.rows, report.facts["erased_rows"], report.facts["dead_letters"]) == (2, count, 1)
    assert not holds(ANNA, shop.lake)


def test_a_tokenised_dataset_without_a_key_store_is_a_usage_error(shop: Shop) -> None:
    shop.put(f"{DAY}.csv", HEADER + rows(ANNA))
    with pytest.raises(ConfigError, match="key store"):
        ingest(
            shop.ledger,
            asset=RAW,
            landing=shop.landing,
            source=SourceSpec(url="landing", format="csv"),
            contract=shop.contract,
            grain="day",
            partitions=[DAY],
            now=NOW,
        )
    assert list(shop.lake.list()) == []


def test_a_replay_needs_the_object_and_gives_the_same_tokens(shop: Shop, tmp_path: Path) -> None:
    shop.put(f"{DAY}.csv", HEADER + rows(ANNA, 300) + rows(ANNA, 1, start=900, amount="two"))
    shop.run()
    tokens = set(shop.table().column("customer").to_pylist())
    shop.contract = contract_of(TEXT.replace("amount, physicalType: DOUBLE", "amount, physicalType: STRING"), tmp_path)
    report = replay(
        shop.ledger,
        asset=RAW,
        landing=shop.landing,
        source=SourceSpec(url="landing", format="csv"),
        contract=shop.contract,
        grain="day",
        now=NOW,
        persons=shop.keys,
    )
    assert report is not None and report.rows == 301
    assert set(shop.table().column("customer").to_pylist()) == tokens
    assert list_letters(shop.ledger, RAW) == []


PIPELINE = """\
pipeline: shop
owner: team:shop
datasets:
  - name: orders
    source: {url: LANDING, format: csv, partition_from: filename}
    contract: orders.contract.yaml
    partitions: {grain: day, start: 2011-03-01, end: 2011-03-03}
    backup: {every: "0 4 * * *", keep: {daily: 7}}
"""


def test_a_deployed_pipeline_keeps_the_keys_in_its_key_folder(tmp_path: Path, landing: LocalStore) -> None:
    folder = tmp_path / "pipelines" / "shop"
    folder.mkdir(parents=True)
    (folder / "pipeline.yaml").write_text(PIPELINE.replace("LANDING", str(tmp_path / "landing")))
    (folder / "orders.contract.yaml").write_text(TEXT)
    landing.write(f"{DAY}.csv", (HEADER + rows(ANNA) + rows(BERT)).encode())
    runtime = Runtime(load_settings(home=tmp_path / "home"), load_project([folder]), clock=lambda: NOW)
    for stage in ("raw_events", "snapshot", "restored"):
        assert not runtime.run(runtime.project.nodes[f"shop/orders/{stage}"], [DAY]).refused
    keys = PersonKeys(LocalStore(tmp_path / "home" / "keys" / "persons"))
    assert keys.peek(ANNA) is not None
    lake, vault = LocalStore(tmp_path / "home" / "lake"), LocalStore(tmp_path / "home" / "vault")
    assert not holds(ANNA, lake, vault)
    assert len(erase(runtime.ledger, keys, ANNA).partitions) == 1
    report = runtime.run(runtime.project.nodes["shop/orders/raw_events"], [DAY])
    assert report.rows == 3


def test_letters_are_json_that_older_readers_understand(shop: Shop) -> None:
    shop.put(f"{DAY}.csv", HEADER + rows(BERT, 300) + "x\n")
    shop.run()
    dead: Store = shop.lake
    (key,) = [i.key for i in dead.list("data/shop/orders/dead_letters/")]
    assert json.loads(dead.read(key))["text"] == ""


def test_a_contract_without_tokens_is_read_as_before(orders: Contract) -> None:
    assert orders.person is None and orders.tokenised_columns == ()
