"""Data that a person let through is seen as such from every model that learned from it."""

from pathlib import Path

from orchestrai.core.verdict import Verdict
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.quarantine import last_refusal
from orchestrai.ledger.receipt import Material
from orchestrai.ledger.report import StageReport
from orchestrai.provenance.export.page import trace_html
from orchestrai.provenance.export.text_tree import trace_text
from orchestrai.provenance.trace import trace
from orchestrai.provenance.verify.audit import audit
from orchestrai.provenance.verify.model_proof import verify_model
from orchestrai_tests.producers import producer
from orchestrai_tests.provenance.builder import MODEL, ORDERS, World, written

RAW, DAY = f"{ORDERS}/raw_events", "2026-01-02"
FEW = (Verdict("schema", True), Verdict("row_volume", False, "expected 300 rows, found 3"))


def few(world: World, *overrides: Override) -> StageReport:
    session = world.ledger.session(RAW, producer("raw_events"))
    session.add_bytes(DAY, "part-00000.parquet", b"few rows", rows=3)
    return session.commit({DAY: FEW}, materials=[Material("s3://l/o.csv", "0" * 64, 1, partition=DAY)], overrides=overrides)


def test_a_trace_names_the_override_and_a_verification_counts_it(world: World, tmp_path: Path) -> None:
    world.prove({"2026-01-01": b"orders"})
    assert few(world).refused
    root = last_refusal(world.lake, RAW, DAY).root
    assert not few(world, Override(RAW, DAY, root, ("row_volume",), "a public holiday", "ann")).refused
    world.back_up([DAY])
    world.restore([DAY])
    world.features(["2026-01-01", DAY])
    model = written(tmp_path, world.train())
    told = f"{DAY} row_volume waived by ann (a public holiday): expected 300 rows, found 3"
    found = trace(world.ledger, f"{MODEL}/champion")
    assert [node.asset for node in found.nodes for line in node.warned if line == told] == [RAW]
    assert told in trace_text(found) and told in trace_html(found)
    proof = verify_model(model, vault=world.store, keyring=world.keyring)
    assert proof.ok, proof.problems
    assert any("1 partitions under an override" in check.about for check in proof.checks)
    assert audit(world.lake, world.keyring, witness=world.store).ok
