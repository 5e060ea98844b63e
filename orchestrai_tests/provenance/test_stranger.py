"""A stranger's machine: a vault, public keys and a model's file; no home, no Dagster, no database. And the same from a sealed vault."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrai.ledger.ledger import Ledger
from orchestrai.provenance.index import ReceiptIndex
from orchestrai.provenance.recall.rebuild import rebuild, recover_bytes
from orchestrai.provenance.recall.recall import recall
from orchestrai.provenance.trace import trace
from orchestrai.provenance.verify.audit import audit
from orchestrai.provenance.verify.model_proof import verify_model
from orchestrai.storage.local import LocalStore
from orchestrai.storage.url import open_store
from orchestrai.vault.protection import open_vault
from orchestrai_tests.copies import copies
from orchestrai_tests.provenance.builder import written
from orchestrai_tests.provenance.small import CHAMPION, DAYS, FEATURES, RAW, RESTORED, Small

# what a machine without Dagster and databases says when asked for them
BLOCKED = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("dagster", "sqlalchemy", "psycopg", "alembic"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
try:
    import dagster
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("dagster is not blocked")
from orchestrai.cli import main
sys.argv = ["orchestrai", *sys.argv[1:]]
main()
"""


@pytest.fixture(scope="module", params=["plain", "sealed"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """The small pipeline up to its champion, in a plain vault and in a sealed one."""
    small = Small.at(tmp_path_factory.mktemp(request.param), sealed=request.param == "sealed")
    small.land(*DAYS[:8])
    small.publish(*DAYS[:8])
    small.train()
    return small


def champion_file(small: Small, folder: Path) -> Path:
    with small.runtime.ledger.open(CHAMPION).fetched(["all"]) as files:
        return written(folder, next(f.path.read_bytes() for f in files["all"] if f.entry.path == "model.ubj"))


def stranger(small: Small, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command where there is no home, with the vault, the public key and, where sealed, the vault's key."""
    (folder / "pub.pem").write_bytes(small.runtime.ledger.signer.public_pem)
    environment = {
        **os.environ,
        "ORCHESTRAI_HOME": str(folder / "none"),
        "ORCHESTRAI_PIPELINES": str(small.home.parent / "declared"),
    }
    command = [
        sys.executable,
        "-c",
        BLOCKED,
        *arguments,
        "--vault",
        small.runtime.settings.vault,
        "--key",
        str(folder / "pub.pem"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment, cwd=folder)
    assert not (folder / "none").exists(), "a home was made"
    return done


def key_folder(small: Small, folder: Path) -> list[str]:
    """The folder that the key of a sealed vault was handed over in."""
    key = small.runtime.settings.key_folder / "vault.key"
    if not key.exists():
        return []
    (folder / "handed").mkdir(exist_ok=True)
    shutil.copy(key, folder / "handed" / "vault.key")
    return ["--keys", str(folder / "handed")]


@pytest.mark.e2e
def test_verify_reads_every_byte_without_dagster_database_or_home(made: Small, tmp_path: Path) -> None:
    file = champion_file(made, tmp_path)
    done = stranger(made, tmp_path, "model", "verify", str(file), "--bytes", "--json", *key_folder(made, tmp_path))
    assert done.returncode == 0, done.stderr + done.stdout
    found = json.loads(done.stdout)
    assert (found["ok"], found["asset"]) == (True, CHAMPION)
    assert {check["name"]: check["count"] for check in found["checks"]}["bytes"] >= 8
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert stranger(made, tmp_path, "model", "verify", str(file), "--json").returncode == 1


@pytest.mark.e2e
def test_reproduce_makes_the_same_bytes_in_another_process_and_home(made: Small, tmp_path: Path) -> None:
    done = stranger(
        made, tmp_path, "model", "reproduce", "alarm@champion", "--home", str(tmp_path / "again"), "--json", *key_folder(made, tmp_path)
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    stages = json.loads(done.stdout)["stages"]
    assert [stage["asset"].rsplit("/", 1)[-1] for stage in stages] == ["restored", "features", "training_set", "candidate"]
    # the other home holds the same model file, byte for byte
    mine = champion_file(made, tmp_path).read_bytes()
    assert mine in {path.read_bytes() for path in (tmp_path / "again" / "lake").rglob("model.ubj")}


@pytest.mark.e2e
@pytest.mark.parametrize("made", ["plain"], indirect=True)
def test_trace_trail_and_export_need_the_vault_alone(made: Small, tmp_path: Path) -> None:
    traced = stranger(made, tmp_path, "model", "trace", "alarm@champion", "--json")
    assert len(json.loads(traced.stdout)["nodes"][-1]["objects"]) == 8, traced.stderr
    assert "candidate" in stranger(made, tmp_path, "trail", "--json").stdout
    assert '"bomFormat"' in stranger(made, tmp_path, "model", "export", "alarm@champion", "--format", "cyclonedx").stdout
    assert stranger(made, tmp_path, "model", "export", "alarm@champion", "--format", "slsa").returncode == 2


def test_without_the_key_of_a_sealed_vault_records_verify_and_bytes_do_not(made: Small, tmp_path: Path) -> None:
    file, store = champion_file(made, tmp_path), open_store(made.runtime.settings.vault)
    assert verify_model(file, vault=store, keyring=made.runtime.ledger.keyring).ok
    found = verify_model(file, vault=store, keyring=made.runtime.ledger.keyring, read_bytes=True)
    assert found.ok is not made.runtime.vault.encrypted


def test_a_flipped_byte_in_the_vault_is_found_with_its_key(made: Small, tmp_path: Path) -> None:
    copied = tmp_path / "vault"
    shutil.copytree(made.runtime.settings.vault.removeprefix("file://"), copied)
    victim = max((path for path in copied.rglob("*") if path.is_file() and "/data/" in str(path)), default=None) or max(
        (path for path in copied.rglob("*") if (path.is_file() and "packs" in str(path)) or "objects" in str(path)), key=str
    )
    victim.chmod(0o644)
    data = victim.read_bytes()
    victim.write_bytes(data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :])
    found = verify_model(
        champion_file(made, tmp_path), vault=LocalStore(copied), keyring=made.runtime.ledger.keyring, read_bytes=True,
        encryption=made.runtime.vault.encryption,
    )  # fmt: skip
    assert not found.ok


def test_losing_lake_and_database_loses_no_lineage_and_no_restored_byte(made: Small, tmp_path: Path) -> None:
    """Invariant 10: all that is left is the vault and the keys; Dagster's database was never asked."""
    runtime, before = made.runtime, trace(made.runtime.ledger, CHAMPION)
    index = ReceiptIndex.build(runtime.ledger.lake, runtime.ledger.keyring)
    old = runtime.ledger
    shutil.copytree(runtime.settings.vault.removeprefix("file://"), tmp_path / "vault")
    ledger = Ledger(
        LocalStore(tmp_path / "lake"), old.signer, old.keyring, vault=LocalStore(tmp_path / "vault"), clock=old.clock
    )
    assert rebuild(ledger).heads > 0
    assert trace(ledger, CHAMPION) == before
    again = ReceiptIndex.build(ledger.lake, ledger.keyring)
    assert again.edges == index.edges
    target = before.objects[0].uri
    assert recall(again, target) == recall(index, target)
    vault = open_vault(ledger, runtime.settings.key_folder, lambda: False)
    assert recover_bytes(ledger, vault).files > 0
    for asset in (RAW, RESTORED):
        dataset = ledger.open(asset)
        assert dataset.version == old.open(asset).version
        copies(dataset, DAYS[0], tmp_path / "out", role=None)
    assert audit(ledger.lake, ledger.keyring, witness=LocalStore(tmp_path / "vault")).ok
    assert old.find(FEATURES) is not None
