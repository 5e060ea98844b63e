"""Restoring what lies in a cold tier: told before anything is read, asked for, waited for: Glacier on moto, archive on Azurite."""

import itertools
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrai.core.verdict import Verdict
from orchestrai.errors import RestoreError, StorageError
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import Signer
from orchestrai.restore.folder import restore_folder
from orchestrai.restore.folder_plan import plan_folder
from orchestrai.restore.warm_up import require_warm, survey, wait_until_warm, warm_up
from orchestrai.storage.base import Store
from orchestrai.storage.cloud.connection import StoreOptions
from orchestrai.storage.cloud.control import ControlPlane, control_plane
from orchestrai.storage.local import LocalStore
from orchestrai.storage.url import open_store
from orchestrai.vault.vault import Vault
from orchestrai_tests.producers import producer
from orchestrai_tests.running import restore, snapshot
from orchestrai_tests.servers.azurite import AzuriteServer
from orchestrai_tests.servers.s3 import S3Server
from orchestrai_tests.storage.conftest import s3_options
from orchestrai_tests.vault.contents import files

pytestmark = pytest.mark.emulator
SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(b"\x07" * 32))


def noise(seed: str) -> bytes:
    """What does not compress, so that as many bytes are stored as there are."""
    return random.Random(seed).randbytes(300_000)


def vault_in(store: Store) -> tuple[Vault, ControlPlane]:
    numbers, control = itertools.count(), control_plane(store)
    assert control is not None
    return Vault(store, SIGNER, new_id=lambda: f"s{next(numbers):04d}", workers=0), control


def test_a_restore_from_glacier_is_planned_asked_for_and_done(moto: S3Server, tmp_path: Path) -> None:
    bucket = moto.bucket()
    store = open_store(f"s3://{bucket}/v", s3_options(moto))
    vault, control = vault_in(store)
    commit = vault.commit("d", {"p": files(a=noise("a"), b=b"b"), "q": files(c=noise("c"))})
    later = vault.commit("d", {"r": files(e=noise("e"))})
    warm = plan_folder(vault, later, control=control)
    assert warm.warmth.ready and warm.bytes == 900_001 == warm.stored_bytes and warm.predicted_seconds > 0
    require_warm(warm.warmth)
    for info in list(store.list("vault/objects/s0000/")) + list(store.list("vault/packs/s0000/")):
        control.copy(control, info.key, info.key, storage_class="GLACIER")
    plan = plan_folder(vault, later, control=control)
    assert len(plan.warmth.cold) == 3 and plan.warmth.objects == 4
    assert plan.warmth.wait == timedelta(hours=5) and plan.warmth.bytes == 600_001
    assert plan_folder(vault, later, ["r"], control).warmth.ready
    with pytest.raises(RestoreError, match=r"3 of 600,001 bytes in a cold tier.*vault warm"):
        require_warm(plan.warmth)
    with pytest.raises(StorageError, match="cold tier"):
        restore_folder(vault, later, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    asked = warm_up(plan.warmth, control, 3)
    slept: list[float] = []
    found = wait_until_warm(lambda: survey(plan.files, control), slept.append, limit=timedelta(hours=1))
    assert found.ready and len(asked.cold) in (0, 3)
    assert restore_folder(vault, later, tmp_path / "out") == 900_001
    assert commit.seq == 1


def test_waiting_ends_with_when_to_come_again(azurite: AzuriteServer) -> None:
    options = StoreOptions(account_name=azurite.account, account_key=azurite.key, endpoint_url=azurite.endpoint)
    container = azurite.container()
    store = open_store(f"az://{container}/v", options)
    vault, control = vault_in(store)
    commit = vault.commit("d", {"p": files(a=noise("a"))})
    blobs = azurite.blob_service().get_container_client(container)
    key = vault.files(commit, "p")[0].key
    blobs.get_blob_client(f"v/{key}").set_standard_blob_tier("Archive")
    plan = plan_folder(vault, commit, control=control)
    assert [(one.key, one.storage_class) for one in plan.warmth.cold] == [(key, "Archive")]
    assert plan.warmth.wait == timedelta(hours=15)
    with pytest.raises(RestoreError, match="cold tier"):
        require_warm(plan.warmth)
    slept: list[float] = []
    with pytest.raises(RestoreError, match="come again"):
        wait_until_warm(lambda: plan.warmth, slept.append, every=timedelta(minutes=5), limit=timedelta(minutes=10))
    assert slept == [300.0, 300.0]
    # Azurite makes it readable at once
    assert warm_up(plan.warmth, control, 1).ready
    assert survey(plan.files, control).ready


class Counted:
    """Passes on to a control plane and counts what is asked of it."""

    def __init__(self, control: Any) -> None:
        self.control, self.asked, self.archives = control, 0, True

    def tier(self, key: str, version: str | None = None) -> Any:
        self.asked += 1
        return self.control.tier(key, version)


def test_one_object_of_each_session_is_asked_for_while_none_is_cold(moto: S3Server) -> None:
    vault, control = vault_in(open_store(f"s3://{moto.bucket()}/v", s3_options(moto)))
    vault.commit("d", {f"p{n}": files(a=b"%d" % n * 300_000) for n in range(5)})
    commit = vault.commit("d", {"more": files(a=noise("m"))})
    counted: Any = Counted(control)
    assert plan_folder(vault, commit, control=counted).warmth.ready
    assert counted.asked == 2


def test_the_restored_stage_stops_before_it_reads_when_its_snapshot_is_cold(moto: S3Server, tmp_path: Path) -> None:
    store = open_store(f"s3://{moto.bucket()}/v", s3_options(moto))
    ledger = Ledger(LocalStore(tmp_path / "lake"), SIGNER, vault=store)
    vault, control = vault_in(store)
    session = ledger.session("shop/orders/raw_events", producer("raw_events"))
    session.add_bytes("p", "a.parquet", noise("a"), rows=1)
    session.commit({"p": [Verdict("schema", True)]})
    names = {"snapshot": "shop/orders/snapshot", "asset": "shop/orders/restored"}
    snapshot(ledger, vault, source="shop/orders/raw_events", asset=names["snapshot"], partitions=["p"])
    for info in list(store.list("vault/objects/")):
        control.copy(control, info.key, info.key, storage_class="DEEP_ARCHIVE")
    with pytest.raises(RestoreError, match=r"DEEP_ARCHIVE.*about 12 h"):
        restore(ledger, vault, partitions=["p"], **names)
    assert ledger.find(names["asset"]) is None
    for info in list(store.list("vault/objects/")):
        control.warm(info.key, 1)
        control.warm(info.key, 1)
    assert restore(ledger, vault, partitions=["p"], **names).version == ledger.open(names["snapshot"]).version
