"""How often the bytes that landed lie somewhere again: a shop's days through raw events, snapshot and restore, bytes by place."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bench.vault_engines import Borg, Restic, line, size_of

# the originals in the lake twice and all of the vault, Parquet included, together no more than what landed
MOST = 1.0
STAGES = ("raw_events", "restored")


def places(folder: Path, data: Path) -> Iterator[dict[str, object]]:
    """Bytes by place, plain and sealed, beside what the peers store of what landed."""
    landing = folder / "landing"
    shutil.rmtree(landing, ignore_errors=True)
    landing.mkdir()
    for path in sorted(data.glob("*.csv")):
        shutil.copy(path, landing)
    landed = size_of(landing)
    peers: list[Borg | Restic] = [Borg(folder), Restic(folder)]
    for peer in peers:
        peer.init()
        peer.snapshot(landing)
    stored = {peer.name: size_of(peer.repo) for peer in peers}
    for kind, peer_name in (("plain", "borg"), ("sealed", "restic")):
        home = folder / f"places-{kind}"
        shutil.rmtree(home, ignore_errors=True)
        _run(home, landing, sealed=kind == "sealed")
        originals = {stage: _bytes(home / "lake" / "data", stage, landed=True) for stage in STAGES}
        parts = {stage: _bytes(home / "lake" / "data", stage, landed=False) for stage in STAGES}
        # the copies of the ledger lie beside what the vault itself holds
        vault, lake, case = size_of(home / "vault" / "vault"), size_of(home / "lake"), f"CSV by place ({kind})"
        for stage in STAGES:
            yield line(case, f"originals_{stage}_bytes", originals[stage], "landing", landed, 0.25)
            yield line(case, f"parts_{stage}_bytes", parts[stage], "landing", landed, None)
        yield line(case, "lake_bytes", lake, "landing", landed, None)
        # the vault holds the Parquet too, which the peers were not given
        yield line(case, "vault_bytes", vault, peer_name, stored[peer_name] + parts["raw_events"], 1.02)
        yield line(case, "originals_and_vault_bytes", sum(originals.values()) + vault, "landing", landed, MOST)
        everything = landed + lake + size_of(home / "vault")
        yield line(case, "all_places_bytes", everything, "landing", landed, None)


def _bytes(data: Path, stage: str, *, landed: bool) -> int:
    files = (path for path in data.rglob("*") if path.is_file() and stage in path.parts)
    return sum(path.stat().st_size for path in files if ("landed" in path.parts) == landed)


def _run(home: Path, landing: Path, *, sealed: bool) -> None:
    """Ingest, snapshot and restore all days."""
    from orchestrai.contracts.odcs import load_contract
    from orchestrai.ingest.run import ingest
    from orchestrai.ingest.spec import DatasetTask, SourceSpec
    from orchestrai.ledger.ledger import Ledger
    from orchestrai.ledger.signing import load_or_create_signer
    from orchestrai.restore.run import RestoreTask, restore
    from orchestrai.stage.context import RunContext
    from orchestrai.storage.local import LocalStore
    from orchestrai.vault.keys.key_file import FileKey
    from orchestrai.vault.run import SnapshotTask, snapshot
    from orchestrai.vault.vault import Vault

    contract = load_contract(Path("orchestrai/pipelines/churn/orders.contract.yaml"))
    days = tuple(path.stem for path in sorted(landing.glob("*.csv")))
    raw, kept, restored = (f"churn/orders/{stage}" for stage in ("raw_events", "snapshot", "restored"))
    lake, store = LocalStore(home / "lake"), LocalStore(home / "vault")
    signer = load_or_create_signer(home / "keys")
    ledger = Ledger(lake, signer, vault=store)
    context = RunContext(ledger, clock=lambda: datetime(2012, 1, 1, tzinfo=UTC))
    source = SourceSpec(url=landing.as_uri(), format="csv", partition_from="filename")
    ingest(context, DatasetTask(raw, source, contract, "day", days), LocalStore(landing))
    port = FileKey(home / "keys" / "data.key") if sealed else None
    # a day that its gate refuses lies in the lake, and is in no snapshot
    days = tuple(sorted(ledger.open(raw).partitions))
    vault = Vault(store, signer, ledger.keyring, encryption=port)
    snapshot(context, vault, SnapshotTask(raw, kept, days))
    restore(context, vault, RestoreTask(kept, restored, days))
