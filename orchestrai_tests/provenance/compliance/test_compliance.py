"""The compliance report says what is protected, how that is proven, and what is not; from signed records alone."""

import json
import re
from datetime import timedelta

import pytest

from orchestrai.ledger.decisions.skips import SKIPS, Skip
from orchestrai.ledger.ledger import Ledger
from orchestrai.provenance.compliance.compliance import Compliance, compliance
from orchestrai.provenance.compliance.compliance_page import compliance_html
from orchestrai.provenance.index import ReceiptIndex
from orchestrai.provenance.recall.rebuild import rebuild, recover_bytes
from orchestrai.provenance.recall.recall import apply_recall, plan_recall
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.lifecycle.legal_hold import place_hold
from orchestrai.vault.spec import BackupSpec, KeepSpec
from orchestrai.vault.verify.verification_record import record_verification, verifications
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.accessibility import faults
from orchestrai_tests.producers import producer
from orchestrai_tests.provenance.builder import MODEL, ORDERS, VIEW, World

RAW = f"{ORDERS}/raw_events"
DAYS = ("2026-01-01", "2026-01-02")


def told(world: World, keep: KeepSpec | None = None) -> Compliance:
    spec = BackupSpec(keep=keep or KeepSpec(), rpo=timedelta(hours=26))
    return compliance(world.ledger, world.vault, {RAW: spec})


def drill(world: World, rto: float) -> None:
    session = world.ledger.session(f"{ORDERS}/drill", producer("drill"))
    session.add_bytes("all", "drill.json", f"{rto}".encode())
    session.commit({"all": ()}, facts={"rto_seconds": rto, "rpo_seconds": 60.0})


@pytest.fixture
def whole(world: World) -> World:
    world.whole(DAYS)
    return world


def test_what_nothing_protects_is_named_with_why(whole: World) -> None:
    whole.land({"2026-01-03": b"not backed up"})
    skip = Skip("s1", RAW, "2026-01-04", "sha256:aa", "lost", "ana", "2026-01-05")
    SKIPS.put([whole.lake], whole.signer, skip)
    by_asset = {gap.asset: gap for gap in told(whole).gaps}
    assert (by_asset[RAW].count, by_asset[RAW].example) == (1, "2026-01-03")
    assert "no snapshot" in by_asset[VIEW].why and "no snapshot" in by_asset[f"{MODEL}/champion"].why
    assert (by_asset["decisions"].count, by_asset["decisions"].example) == (1, "skips/s1.json")
    whole.back_up(["2026-01-03"])
    assert RAW not in {gap.asset for gap in told(whole).gaps}


def test_proofs_holds_and_what_goes_next_are_told(whole: World) -> None:
    whole.land({"2026-01-03": b"third"})
    whole.back_up(["2026-01-03"])
    for rto in (2.0, 3.5):
        drill(whole, rto)
    before = told(whole, KeepSpec(last=1))
    assert before.read_whole == "" and before.verifications == ()
    record_verification(whole.vault, verify(whole.vault, level="read"))
    place_hold(whole.vault, RAW, None, None, reason="case 7")
    report = told(whole, KeepSpec(last=1))
    (raw,) = report.datasets
    assert raw.snapshots == 3 and [point.value for point in raw.rto_seconds] == [2.0, 3.5] and len(raw.gap_seconds) == 2
    assert raw.proven is not None and raw.policy == "last 1"
    assert report.read_whole and report.verifications[0].files_read > 0
    assert [hold.reason for hold in report.holds] == ["case 7"]
    assert raw.would_go == ()  # held
    assert json.loads(json.dumps(report.as_json()))["datasets"][0]["dataset"] == RAW


def test_a_part_or_a_verification_with_findings_proves_nothing(whole: World) -> None:
    record_verification(whole.vault, verify(whole.vault, level="read", sample=(1, 2)), (1, 2))
    record_verification(whole.vault, verify(whole.vault, level="read", dataset=RAW), None, RAW)
    victim = next(info.key for info in whole.store.list("vault/packs/"))
    whole.store.write(victim, whole.store.read(victim)[:-1] + b"?")
    record_verification(whole.vault, verify(whole.vault, level="read"))
    assert len(verifications(whole.vault)) == 3 and not any(record.proves for record in verifications(whole.vault))


def test_a_record_by_a_stranger_tells_nothing(whole: World) -> None:
    stranger = World(store=whole.store)
    stranger.vault.identity = whole.vault.identity  # type: ignore[method-assign]
    report = verify(whole.vault, level="read")
    record_verification(stranger.vault, report)
    assert verifications(whole.vault) == []


def test_a_model_that_was_recalled_is_withdrawn(whole: World) -> None:
    assert [model.state for model in told(whole).models] == ["serves"]
    plan = plan_recall(whole.ledger, ReceiptIndex.build(whole.lake, whole.keyring), f"{RAW}@2026-01-01")
    apply_recall(whole.ledger, plan, lambda *_: None)  # type: ignore[arg-type, return-value]
    report = told(whole)
    assert [(model.name, model.state) for model in report.models] == [(MODEL, "withdrawn")]
    assert f"{MODEL}/champion" not in {gap.asset for gap in report.gaps}


def test_a_rebuilt_lake_says_withdrawn_too(whole: World) -> None:
    plan = plan_recall(whole.ledger, ReceiptIndex.build(whole.lake, whole.keyring), f"{RAW}@2026-01-01")
    apply_recall(whole.ledger, plan, lambda *_: None)  # type: ignore[arg-type, return-value]
    before = told(whole)
    whole.ledger = Ledger(
        MemoryStore(), whole.signer, vault=whole.store, clock=whole.ledger.clock, new_id=whole.ledger.new_id
    )
    rebuild(whole.ledger)
    recover_bytes(whole.ledger, whole.vault)
    assert [(model.name, model.state) for model in told(whole).models] == [(MODEL, "withdrawn")]
    assert [one.dataset for one in told(whole).datasets] == [one.dataset for one in before.datasets]


def test_damage_is_a_finding_and_the_report_goes_on(whole: World) -> None:
    whole.store.delete(next(info.key for info in whole.store.list("vault/listings/")))
    report = told(whole)
    assert report.findings and not report.ok and report.datasets[0].would_go == ()


def test_the_page_is_self_contained_and_accessible(whole: World) -> None:
    whole.land({"2026-01-03": b"third"})
    whole.back_up(["2026-01-03"])
    drill(whole, 2.0)
    place_hold(whole.vault, RAW, None, None, reason="<script>alert(1)</script>")
    page = compliance_html(told(whole))
    assert faults(page) == [] and "&lt;script&gt;" in page
    assert "RTO: seconds of a drill. 1 drill of" in page and "RPO: hours between snapshots. " in page
    assert not re.search(r"https?://(?!www\.w3\.org)", page)
