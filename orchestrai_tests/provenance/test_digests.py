"""Every digest that an exporter writes is computed again from the file that it names."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrai.core.canonical import sha256_hex
from orchestrai.ledger.signing import Signer
from orchestrai.provenance.export.dossier.dossier import dossier
from orchestrai.provenance.export.export import export
from orchestrai.provenance.export.model_signing import write_signed_model
from orchestrai.provenance.verified_records import Records
from orchestrai_tests.provenance.small import CANDIDATE, CHAMPION, DAYS, Small

Files = dict[str, set[str]]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A model through every real stage."""
    small = Small.at(tmp_path_factory.mktemp("small"))
    small.land(*DAYS[:8])
    small.publish(*DAYS[:8])
    small.train()
    return small


@pytest.fixture(scope="module")
def files(small: Small) -> Files:
    """The hashes of every file of every asset, of landed objects, and of the vault's records, by name."""
    ledger, named = small.runtime.ledger, Files()
    for asset in Records(ledger.lake, ledger.keyring).assets():
        dataset = ledger.open(asset)
        if asset.endswith("/snapshot"):
            continue  # its files lie in packs; the raw events' own are the same
        for partition, manifest in ((key, dataset.files(key)) for key in dataset.partitions):
            for entry in manifest.files:
                digest = sha256_hex(ledger.lake.read(entry.key))
                for name in (entry.path, f"{partition}/{entry.path}"):
                    named.setdefault(name, set()).add(digest)
    for path in (small.home / "landing").rglob("*.csv"):
        named.setdefault(path.name, set()).add(sha256_hex(path.read_bytes()))
    for info in ledger.vault.list("") if ledger.vault is not None else ():
        if info.key.startswith(("receipts/", "vault/snapshots/")):
            named.setdefault("record", set()).add(sha256_hex(ledger.vault.read(info.key)))
    return named


def exported(small: Small, form: str, signer: Signer | None = None) -> str:
    ledger = small.runtime.ledger
    return export(Records(ledger.lake, ledger.keyring), CHAMPION, form=form, signer=signer)


def payload(envelope: str) -> Any:
    return json.loads(base64.b64decode(json.loads(envelope)["payload"]))


def nested(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a document."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nested(item)


def roots(small: Small) -> set[str]:
    """The Merkle roots of every asset and of its partitions."""
    found = set()
    for asset in Records(small.runtime.ledger.lake, small.runtime.ledger.keyring).assets():
        dataset = small.runtime.ledger.open(asset)
        found |= {dataset.version, *dataset.roots().values()}
    return {root.removeprefix("sha256:") for root in found}


def test_hashes_of_the_bill_of_materials_are_of_the_files_they_stand_by(small: Small, files: Files) -> None:
    count = 0
    for part in nested(json.loads(exported(small, "cyclonedx"))):
        for one in part.get("hashes", ()):
            name = part.get("name") or part["url"].rpartition("/")[2]
            assert one["alg"] == "SHA-256"
            assert one["content"] in files[name], name
            count += 1
    assert count > 30


def test_digests_of_slsa_are_of_files_records_and_landed_objects_or_are_called_roots(small: Small, files: Files) -> None:
    statement = payload(exported(small, "slsa", small.runtime.ledger.signer))
    for subject in statement["subject"]:
        assert subject["digest"]["sha256"] in files[subject["name"]]
    predicate, known = statement["predicate"], roots(small)
    named = [*predicate["buildDefinition"]["resolvedDependencies"], *predicate["runDetails"]["byproducts"]]
    kinds = set()
    for one in named:
        ((kind, digest),) = one["digest"].items()
        kinds.add(kind)
        name = one["uri"].rpartition("/")[2] if "uri" in one else "record"
        assert digest in (known if kind == "merkleSha256" else files[name]), one
    assert kinds == {"sha256", "merkleSha256"}


def test_in_toto_receipts_name_roots_alone(small: Small) -> None:
    known = roots(small)
    for line in exported(small, "in-toto").splitlines():
        for subject in payload(line)["subject"]:
            assert set(subject["digest"]) == {"merkleSha256"}
            assert subject["digest"]["merkleSha256"] in known


def test_openlineage_versions_are_roots_and_its_receipts_are_records(small: Small, files: Files) -> None:
    known, seen = roots(small), 0
    for line in exported(small, "openlineage").splitlines():
        event = json.loads(line)
        for part in nested(event):
            if "datasetVersion" in part:
                assert part["datasetVersion"].removeprefix("sha256:") in known
            if "receipt" in part and "_producer" in part:
                assert part["receipt"].removeprefix("sha256:") in files["record"]
                seen += 1
    assert seen > 10


def test_a_signed_model_and_a_dossier_name_the_hashes_of_the_models_files(
    small: Small, files: Files, tmp_path: Path
) -> None:
    ledger = small.runtime.ledger
    with ledger.open(CANDIDATE).fetched(["all"]) as fetched:
        model = {file.entry.path: file.path for file in fetched["all"]}
        signed = write_signed_model(
            model, name="alarm", keys=tmp_path / "keys", signer=ledger.signer, to=tmp_path / "signed"
        )
    statement = payload(json.dumps(json.loads((signed.path / "model.sig").read_bytes())["dsseEnvelope"]))
    for resource in statement["predicate"]["resources"]:
        assert resource["digest"] == sha256_hex((signed.path / "model" / resource["name"]).read_bytes())
        assert resource["digest"] in files[resource["name"]]
    page = dossier(Records(ledger.lake, ledger.keyring), CHAMPION)
    for name, _, digest in page.sections[0].tables[0].rows:
        assert digest in files[name]
