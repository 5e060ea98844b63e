"""A signed receipt is not enough: without verdicts, inputs, code and bytes in the vault nothing is read under it."""

import io
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from orchestrai.core.code_identity import Producer
from orchestrai.errors import IntegrityError, NotReceipted, SignatureInvalid
from orchestrai.ledger.receipt import InputRef, Receipt
from orchestrai.ledger.signing import Signer, load_or_create_signer
from orchestrai.pipeline import admission
from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.features.shop import FEATURES, KEPT, MODEL, RESTORED, Shop
from orchestrai_tests.forgery import dropped, forging, trusted

TRAINING = f"{MODEL}/training_set"
RESTORE = Producer("restored", "orchestrai.restore.run")
CASES = ("no verdict", "one verdict", "no input", "no vault bytes", "all fields, another root", "no code")


@dataclass
class World:
    """A shop with two weeks restored, and a key of somebody else's."""

    shop: Shop
    other: Signer
    day: str

    def reopened(self) -> Runtime:
        """A process that starts now, as the next run would."""
        return Runtime(self.shop.runtime.settings, self.shop.project, clock=lambda: self.shop.now)

    def forge(self, case: str, patch: pytest.MonkeyPatch) -> None:
        """Publish other rows as restored, with what the case has of a receipt."""
        ledger = forging(self.shop.runtime, self.other)
        honest = ledger.open(RESTORED)
        receipt = honest.receipt(self.day)
        session = ledger.session(RESTORED, RESTORE)
        entry = session.add_bytes(
            self.day, "part-00000.parquet", other_rows(honest, self.day), rows=honest.partitions[self.day].rows
        )
        assert entry.store == "lake"
        session.add_stats(self.day, **honest.files(self.day).stats)
        root = session.staged(self.day).root
        inputs = [InputRef(KEPT, ref.version, {self.day: root}) for ref in receipt.inputs]
        verdicts: Any = {self.day: receipt.verdicts[self.day]}
        if case == "no verdict":
            verdicts = {}
        elif case == "one verdict":
            verdicts = {self.day: [v for v in receipt.verdicts[self.day] if v.check == "same_version"]}
        elif case == "no input":
            inputs = []
        elif case == "all fields, another root":
            inputs = list(receipt.inputs)
        elif case == "no code":
            sign = Receipt.sign
            patch.setattr(Receipt, "sign", lambda receipt, signer: _without_code(receipt, signer, sign))
        session.commit(verdicts, inputs=inputs, parameters=receipt.parameters, facts=receipt.facts)
        patch.undo()


def _without_code(receipt: Receipt, signer: Signer, _: Any) -> bytes:
    from orchestrai.ledger.manifest import canonical_json
    from orchestrai.ledger.signing import STATEMENT_TYPE

    return signer.sign(STATEMENT_TYPE, canonical_json(replace(receipt, code_version="").statement()))


def other_rows(dataset: Any, day: str) -> bytes:
    """The rows of a day, each worth ten times as much."""
    with dataset.fetched([day]) as files:
        rows = pa.concat_tables([pq.read_table(file.path) for file in files[day]])
    place = rows.column_names.index("cents")
    rows = rows.set_column(
        place, rows.schema.field("cents"), pc.multiply(rows.column("cents"), 10).cast(rows.schema.field("cents").type)
    )
    sink = io.BytesIO()
    pq.write_table(rows, sink)
    return sink.getvalue()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop(tmp_path_factory.mktemp("admission"))
    shop.restored(shop.days(0, 16, 16))
    return shop


@pytest.fixture
def world(built: Shop, tmp_path: Path) -> World:
    """A copy of the shop, before anything was computed from it."""
    shop = Shop(tmp_path / "shop", now=built.now)
    shutil.copytree(built.folder / "home", shop.folder / "home", dirs_exist_ok=True)
    other = load_or_create_signer(tmp_path / "other")
    dropped(shop.runtime, other)
    return World(shop, other, "2026-10-09")


def refused(world: World, asset: str, kind: type[IntegrityError], match: str) -> None:
    """A run of an asset raises and publishes nothing."""
    runtime = world.reopened()
    with pytest.raises(kind, match=match):
        runtime.run(runtime.project.nodes[asset], ["all"])
    assert runtime.ledger.find(asset) is None


@pytest.mark.parametrize("case", CASES)
def test_a_key_that_nobody_signed_for_restores_nothing(world: World, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world.forge(case, monkeypatch)
    refused(world, FEATURES, SignatureInvalid, "not on their signed list")


SAID = {
    "no verdict": "a verdict of every gate in its receipt for .*2026-10-09, found none of same_version, schema",
    "one verdict": "a verdict of every gate in its receipt for .*2026-10-09, found none of schema",
    "no input": "as its input for .*2026-10-09, found none",
    "no vault bytes": "a snapshot in the vault that counts and names late/sales/raw_events@2026-10-09",
    "all fields, another root": "as its input for .*2026-10-09, found late/sales/snapshot",
    "no code": "the code that made it in its receipt",
}


@pytest.mark.parametrize("case", CASES)
def test_nor_does_a_trusted_key_by_a_receipt_that_shows_too_little(
    world: World, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted(world.reopened(), world.other)
    world.forge(case, monkeypatch)
    refused(world, FEATURES, NotReceipted, SAID[case])


def test_nor_where_many_roots_are_held_against_the_vault_by_hash(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_FEW", 0)
    trusted(world.reopened(), world.other)
    world.forge("no vault bytes", monkeypatch)
    refused(world, FEATURES, NotReceipted, SAID["no vault bytes"])


def test_forged_features_are_not_learned_from(world: World) -> None:
    trusted(world.reopened(), world.other)
    world.shop.features()
    ledger = forging(world.shop.runtime, world.other)
    honest = ledger.open(FEATURES)
    day = max(honest.partitions)
    receipt = honest.receipt(day)
    for verdicts, inputs, said in (
        ({}, receipt.inputs, "a verdict of every gate"),
        ({day: receipt.verdicts[day]}, (), "as its inputs"),
        (
            {day: receipt.verdicts[day]},
            [replace(ref, partitions={world.day: "sha256:" + "0" * 64}) for ref in receipt.inputs],
            "a snapshot",
        ),
    ):
        session = ledger.session(FEATURES, Producer("features", "orchestrai.features.run"))
        with honest.fetched([day]) as files:
            for file in files[day]:
                session.add_file(day, file.entry.path, file.path, rows=file.entry.rows)
        session.add_stats(day, **honest.files(day).stats)
        session.commit(verdicts, inputs=inputs, parameters=receipt.parameters)
        if not verdicts:
            assert ledger.open(FEATURES).receipt(day).verdicts.get(day, ()) == ()
        refused(world, TRAINING, NotReceipted, said)
    # the next run of the features takes them for none, and makes them again
    runtime = world.reopened()
    assert not runtime.run(runtime.project.nodes[FEATURES], ["all"]).refused
    assert runtime.ledger.open(FEATURES).partitions[day].root == honest.partitions[day].root
    world.shop.runtime = world.reopened()
    assert world.shop.run(TRAINING).version


def test_what_the_vault_no_longer_counts_is_not_computed_from(world: World) -> None:
    vault = world.shop.runtime.vault
    for commit in vault.snapshots():
        vault.forget_record(commit.dataset, commit.seq, reason="a test")
    refused(world, FEATURES, NotReceipted, "a snapshot in the vault that counts")


def test_a_receipt_of_an_earlier_release_counts_with_the_verdicts_of_then(world: World) -> None:
    ledger = world.shop.runtime.ledger
    restored = ledger.open(RESTORED)
    receipt = restored.receipt(world.day)
    session = ledger.session(RESTORED, RESTORE)
    manifest = restored.files(world.day)
    for entry in manifest.files:
        session.add_entry(world.day, entry)
    session.add_stats(world.day, **manifest.stats)
    then = [v for v in receipt.verdicts[world.day] if v.check in ("same_version", "schema", "row_volume", "values")]
    session.commit({world.day: then}, inputs=receipt.inputs, facts=receipt.facts)
    runtime = world.reopened()
    assert runtime.run(runtime.project.nodes[FEATURES], ["all"]).version
