"""What is exported satisfies the specifications as others implement them: their schemas, their classes, their signatures."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import ConfigError
from orchestrai.provenance.export.export import export
from orchestrai.provenance.verified_records import Records
from orchestrai_tests.provenance.builder import MODEL, ORDERS, World, uri, written

DAYS = ("2026-01-01", "2026-01-02")
STRANGER = Path(__file__).with_name("stranger.py")


def exported(world: World, form: str) -> str:
    return export(Records(world.store, world.keyring), f"{MODEL}/champion", form=form, signer=world.signer)


def payload(envelope: str) -> dict[str, Any]:
    return dict(json.loads(base64.b64decode(json.loads(envelope)["payload"])))


def stranger(world: World, folder: Path, text: str, *model: Path) -> subprocess.CompletedProcess[str]:
    (folder / "key.pem").write_bytes(world.signer.public_pem)
    (folder / "envelopes.jsonl").write_text(text)
    command = [sys.executable, str(STRANGER), str(folder / "key.pem"), str(folder / "envelopes.jsonl"), *map(str, model)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_every_statement_is_an_in_toto_statement(world: World) -> None:
    from google.protobuf import json_format
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    world.whole(DAYS)
    lines = [*exported(world, "in-toto").splitlines(), exported(world, "slsa")]
    assert len(lines) == 3 * len(DAYS) + 5 + 1
    for line in lines:
        found = json_format.ParseDict(payload(line), statement_pb2.Statement())
        Statement.copy_from_pb(found).validate()


def test_the_slsa_statement_is_slsa_provenance_v1_and_names_every_dependency(world: World, tmp_path: Path) -> None:
    from google.protobuf import json_format
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2

    model = world.whole(DAYS)
    statement = payload(exported(world, "slsa"))
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    # strict: a field that the specification does not know raises
    found = json_format.ParseDict(statement["predicate"], provenance_pb2.Provenance())
    assert found.run_details.builder.id.endswith(world.signer.key_id)
    assert found.run_details.metadata.started_on.seconds <= found.run_details.metadata.finished_on.seconds
    needed = {(d.uri or d.name, next(iter(d.digest))) for d in found.build_definition.resolved_dependencies}
    snapshots = {(f"{ORDERS}/snapshot@{c.snapshot_id}", "sha256") for c in world.vault.snapshots()}
    assert {(uri(day), "sha256") for day in DAYS} | snapshots <= needed
    assert (f"{MODEL}/training_set", "merkleSha256") in needed
    assert len(found.run_details.byproducts) == 3 * len(DAYS) + 5
    file = written(tmp_path, model)
    assert stranger(world, tmp_path, exported(world, "slsa"), file).stdout.strip() == "1"


def test_a_verifier_that_is_not_ours_accepts_what_was_signed_and_nothing_else(world: World, tmp_path: Path) -> None:
    world.whole(DAYS)
    text = exported(world, "in-toto")
    done = stranger(world, tmp_path, text)
    assert (done.returncode, done.stdout.strip()) == (0, str(3 * len(DAYS) + 5)), done.stderr
    first = json.loads(text.splitlines()[0])
    first["payload"] = base64.b64encode(base64.b64decode(first["payload"]).replace(b"2026-01-01", b"2026-01-09")).decode()
    assert "InvalidSignature" in stranger(world, tmp_path, json.dumps(first)).stderr
    other = written(tmp_path, b"another model")
    assert "no subject" in stranger(world, tmp_path, exported(world, "slsa"), other).stderr


def test_an_slsa_statement_needs_a_key_to_sign_with(world: World) -> None:
    world.whole(DAYS)
    with pytest.raises(ConfigError, match="in-toto"):
        export(Records(world.store, world.keyring), f"{MODEL}/champion", form="slsa")


def test_the_bill_of_materials_satisfies_the_official_schema(world: World) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    world.whole(DAYS)
    text = exported(world, "cyclonedx")
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(text) is None
    broken = text.replace('"machine-learning-model"', '"machine"')
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(broken) is not None
