"""Models of an earlier release, frozen as files, still open, score as they did, trace and verify. `freeze.py` wrote them."""

import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import load_keyring, load_or_create_signer
from orchestrai.ledger.trust.trust_list import begin_trust, trust_key, trusted_keyring
from orchestrai.models.estimators.artifact import GOLDEN_FILE, INFO_FILE, MODEL_FILES, decode_info, load_model
from orchestrai.models.registry.versions import versions
from orchestrai.models.spec import ModelSpec
from orchestrai.provenance.naming import find_asset
from orchestrai.provenance.trace import trace_records
from orchestrai.provenance.verified_records import Records
from orchestrai.provenance.verify.model_proof import verify_model
from orchestrai.storage.local import LocalStore
from orchestrai_tests.copies import copies
from orchestrai_tests.unpacked import unpack

FORMATS = {1: "format-1.tar.xz", 2: "format-2.tar.xz"}
CHAMPION = "small/alarm/champion"
KINDS = {
    "small/alarm/champion": ("xgboost", "binary"),
    "small/size/candidate": ("xgboost", "regression"),
    "small/plain/candidate": ("logistic", "binary"),
    "small/forest/candidate": ("sklearn", "binary"),
    "small/next/candidate": ("cooccurrence", "ranking"),
}


@pytest.fixture(scope="module", params=FORMATS)
def stated(request: pytest.FixtureRequest) -> int:
    """A format that models were written in."""
    return int(request.param)


@pytest.fixture(scope="module")
def home(stated: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frozen")
    with tarfile.open(Path(__file__).parent / "golden" / FORMATS[stated]) as archive:
        unpack(archive, folder)
    # whoever made them signed with a key of their own, which a person puts on this home's list
    signer = load_or_create_signer(folder / "keys")
    (theirs,) = (path for path in (folder / "keys" / "trusted").glob("*.pem") if path.stem != signer.key_id)
    (key,) = load_keyring([theirs.read_bytes()]).keys.values()
    now = datetime.now(UTC)
    begin_trust(folder / "keys", signer, now)
    trust_key(folder / "keys", signer, key, now, by="tests", reason="frozen models")
    return folder


@pytest.fixture(scope="module")
def frozen(home: Path) -> Ledger:
    signer = load_or_create_signer(home / "keys")  # a key of its own: it only reads
    return Ledger(LocalStore(home / "lake"), signer, trusted_keyring(home / "keys"), vault=LocalStore(home / "vault"))


@pytest.mark.parametrize("asset", KINDS)
def test_a_frozen_model_of_each_kind_opens_and_scores_its_golden_rows(frozen: Ledger, asset: str, tmp_path: Path) -> None:
    scorer = load_model(frozen, asset)
    assert (scorer.info.kind, scorer.info.task) == KINDS[asset]
    files = {file.entry.path: file.path for file in copies(frozen.open(asset), "all", tmp_path)}
    assert set(files) == {MODEL_FILES[scorer.info.kind], INFO_FILE, GOLDEN_FILE}
    golden = pq.read_table(files[GOLDEN_FILE])
    found = scorer.score(golden.drop_columns(["prediction"]))
    assert golden.num_rows > 10
    assert found == pytest.approx(golden.column("prediction").to_numpy(), abs=1e-5)


@pytest.mark.parametrize("asset", KINDS)
def test_a_frozen_recipe_is_read_and_written_as_it_was(frozen: Ledger, stated: int, asset: str, tmp_path: Path) -> None:
    (path,) = [file.path for file in copies(frozen.open(asset), "all", tmp_path) if file.entry.path == INFO_FILE]
    info = decode_info(path.read_bytes())
    assert info.encode() == path.read_bytes()
    # what was trained on a set that names no views is of format 1 to this day
    wanted = 1 if asset == "small/next/candidate" else stated
    assert json.loads(path.read_bytes())["format"] == wanted and (info.views is None) == (wanted == 1)
    # as the champion's recipe is read where it is fitted anew beside a candidate
    recipe = {**info.recipe, "promote_when": {"metric": "rmse" if info.task == "regression" else "auc"}}
    assert ModelSpec.model_validate_json(json.dumps(recipe)).recipe() == info.recipe


def test_a_frozen_model_is_traced_to_its_landed_objects_and_verified_from_the_vault(home: Path, tmp_path: Path) -> None:
    keyring, vault = trusted_keyring(home / "keys"), LocalStore(home / "vault")
    (file,) = home.glob("lake/data/small/alarm/candidate/all/*/model.ubj")
    found = verify_model(file, vault=vault, keyring=keyring, read_bytes=True)
    assert found.ok and found.asset == CHAMPION, found.problems
    assert {check.name: check.count for check in found.checks}["bytes"] == 6
    traced = trace_records(Records(vault, keyring), *find_asset(Records(vault, keyring), "alarm@champion"))
    stages = {node.stage for node in traced.nodes}
    assert {"champion", "candidate", "training_set", "features", "restored", "snapshot", "raw_events"} <= stages
    (other := tmp_path / "model.ubj").write_bytes(file.read_bytes()[:-1] + b"x")
    assert not verify_model(other, vault=vault, keyring=keyring).ok


def test_a_frozen_champion_is_listed_among_versions(frozen: Ledger) -> None:
    (only,) = versions(frozen, candidate="small/alarm/candidate", champion=CHAMPION)
    assert only.aliases == ("candidate", "champion") and only.times_serving == 1
