"""Recorded bytes have one door: what reads a store's objects by another way is listed here, with what makes it sound."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2] / "orchestrai"
# the stores themselves, and the vault, whose reader hashes what it hands on as it hands it on
APART = ("storage", "vault", "conformance")
WAYS = {"local_path", "store_of", "stream"}
HASHED = "hashes the very bytes that it passes on"
NO_BYTES = "asks where an object lies, and reads none"
LISTED = {
    "ingest/originals/landing_copies.py": HASHED,
    "ingest/partition.py": HASHED,
    "ingest/readers/spark_typing.py": HASHED,
    "ingest/sources/landing.py": NO_BYTES,
    "ledger/dataset.py": "the door",
    "ledger/heads.py": NO_BYTES,
    "pipeline/check/landing_sample.py": "looks at landed objects, and publishes nothing of them",
    "pipeline/refresh/write_proof_store.py": "a store before another one, which hands on what that one hands on",
    "pipeline/starter/look/landing_look.py": "looks at landed objects, and publishes nothing of them",
    "provenance/erasure/plaintext_copies.py": "looks for a person in refused data, and publishes nothing of it",
    "provenance/recall/overlay.py": "a store over two others",
    "provenance/verify/read_ahead.py": NO_BYTES,
    "provenance/verify/trail_check.py": NO_BYTES,
    "restore/run.py": NO_BYTES,
    "warehouse/tables/columns.py": NO_BYTES,
}


def ways(path: Path) -> set[str]:
    """The calls of a module that reach an object past the door; those of a vault's own reader do not."""
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return {
        call.attr
        for call in calls
        if isinstance(call, ast.Attribute) and call.attr in WAYS and ast.unparse(call.value) not in ("vault", "self.vault")
    }


def test_nothing_else_reaches_into_a_store_for_recorded_bytes() -> None:
    modules = {
        str(path.relative_to(ROOT)): path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in APART
    }
    assert {name for name, path in modules.items() if ways(path)} == set(LISTED)


def test_a_verified_file_is_made_in_one_place() -> None:
    makers = [
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "VerifiedFile"
    ]
    assert makers == ["ledger/dataset.py"]
