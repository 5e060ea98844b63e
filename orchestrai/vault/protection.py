"""What a declared backup asks for around the snapshot: sealing, lock, second copy and anchor."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrai.core.canonical import JsonValue
from orchestrai.core.progress import Progress
from orchestrai.errors import ConfigError, IntegrityError, OrchestraiError, StorageError
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import Keyring, without_rules
from orchestrai.ledger.trust.home_keys import load_root
from orchestrai.ledger.trust.key_rules import governed
from orchestrai.settings import Settings
from orchestrai.storage.base import Store
from orchestrai.storage.url import open_store
from orchestrai.vault.format.layout import IDENTITY
from orchestrai.vault.format.records import IDENTITY_TYPE, document
from orchestrai.vault.keys.data_keys import wrapped_keys
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.lifecycle.anchor import Anchor
from orchestrai.vault.lifecycle.hold_records import held_by, holds
from orchestrai.vault.lifecycle.lock import lock_snapshot
from orchestrai.vault.replica.replicate import replicate
from orchestrai.vault.vault import Vault
from orchestrai.vault.vault_store import COPYING_THREADS, identity_record
from orchestrai.vault.witness.time_stamp import StampAuthority
from orchestrai.vault.witness.witness_log import WitnessLog, ends_of, open_witness
from orchestrai.vault.witness.witness_record import Place

if TYPE_CHECKING:
    from orchestrai.vault.spec import BackupSpec


def is_sealed(store: Store, keyring: Keyring) -> bool | None:
    """Whether the vault in a store is encrypted; None when there is no vault yet. Writes nothing.

    Raises MissingObject where there is a vault but not its identity.
    """
    envelope = identity_record(store)
    if envelope is None:
        return None
    return bool(document(keyring, IDENTITY_TYPE, envelope)["encrypted"])


def open_vault(
    ledger: Ledger,
    key_folder: Path,
    seal: Callable[[], bool | str],
    store: Store | None = None,
    keyring: Keyring | None = None,
) -> Vault:
    """The vault beside a ledger, or the one in `store`: sealed when it was made so, or, when it is new, as `seal()` says.

    `seal` gives the URL of what wraps a new vault's data key (True: the key file), or nothing for a plain vault. A vault that is
    sealed says in its signed records what wraps it. Raises ConfigError when there is no vault store, or no key file where that is it.
    """
    from orchestrai.vault.keys.key_services import key_port

    store = store or ledger.vault
    if store is None:
        raise ConfigError("expected a vault, found none: set ORCHESTRAI_VAULT_URL")
    keyring = keyring or keyring_for(ledger, store, key_folder)
    sealed = is_sealed(store, keyring)
    wanted = seal() if sealed is None else sealed and _wrapped_by(store, keyring)
    encryption = key_port("file" if wanted is True else wanted, key_folder) if wanted else None
    if sealed and isinstance(encryption, FileKey) and not encryption.path.exists():
        raise ConfigError(
            f"expected the key of the sealed vault in {store.url} at {encryption.path}, found none: put the file back, "
            "nothing else opens it"
        )
    return Vault(
        store,
        ledger.signer,
        keyring,
        clock=ledger.clock,
        new_id=ledger.new_id,
        encryption=encryption,
        workers=_workers(store),
        root=load_root(key_folder),
    )


def _workers(store: Store) -> int:
    """How many threads copy to and from a store."""
    return getattr(getattr(store, "limits", None), "at_once", 0) or COPYING_THREADS


def keyring_for(ledger: Ledger, store: Store, key_folder: Path) -> Keyring:
    """The ledger's keyring under the rules of the key log in a store, which may be another than that of the ledger's vault."""
    if ledger.vault is not None and store.url == ledger.vault.url:
        return ledger.keyring
    return governed(store, without_rules(ledger.keyring), folder=key_folder, copy=True)


def _wrapped_by(store: Store, keyring: Keyring) -> bool | str:
    """What wraps the newest data key of a sealed vault; True where none was made yet."""
    identity = str(document(keyring, IDENTITY_TYPE, store.read(IDENTITY))["vault"])
    records = wrapped_keys(store, identity, keyring)
    return records[-1].port if records else True


@dataclass(frozen=True)
class WitnessSource:
    """Where a vault's witness lies, and who is asked for time-stamps."""

    url: str
    authority: StampAuthority

    def of(self, vault: Vault) -> WitnessLog:
        """The witness of a vault; raises ConfigError where it lies in the vault itself."""
        return open_witness(self.url, vault.store, self.authority)


@dataclass(frozen=True)
class Protection:
    """What has to be done for a snapshot besides writing it; `replicas` are URLs, `witness` is None where none is wanted."""

    spec: "BackupSpec"
    anchor: Anchor | None = None
    replicas: tuple[str, ...] = ()
    witness: WitnessSource | None = None

    def of_side_chain(self) -> "Protection":
        """The same for a chain that is followed by another's: replicas and anchor are brought up to date once, after that."""
        return replace(self, anchor=None, replicas=())


def witness_of(settings: Settings) -> WitnessSource | None:
    """The witness of the settings."""
    if not settings.witness_url:
        return None
    roots = Path(settings.timestamp_roots) if settings.timestamp_roots else None
    return WitnessSource(settings.witness_url, StampAuthority(settings.timestamp_url, roots))


def witness_store(settings: Settings, vault: Store) -> Store | None:
    """The place outside a vault that the settings name; None where no witness is wanted. Raises ConfigError as `open_witness`."""
    source = witness_of(settings)
    return open_witness(source.url, vault, source.authority).store if source is not None else None


def witness_now(vault: Vault, settings: Settings) -> None:
    """Have the ends of all chains witnessed, as after a prune."""
    witness = witness_of(settings)
    if witness is not None:
        witness.of(vault).note(vault, ends_of(vault))


def anchor_of(settings: Settings) -> Anchor | None:
    """The anchor of the settings."""
    return Anchor(Path(settings.anchor).expanduser()) if settings.anchor else None


def protection_of(spec: "BackupSpec", settings: Settings) -> Protection:
    """A dataset's declared backup, with the settings' replica where it names none."""
    replicas = spec.replica or ((settings.replica_url,) if settings.replica_url else ())
    return Protection(spec, anchor_of(settings), replicas, witness_of(settings))


def replicas_of(specs: Iterable["BackupSpec"], settings: Settings) -> list[str]:
    """The URLs of all replicas that these backups declare, sorted; that of the settings is one where a backup names none."""
    return sorted({replica for spec in specs for replica in protection_of(spec, settings).replicas})


def require_ready(vault: Vault, wanted: Protection, dataset: str) -> None:
    """Raise, before anything is written, ConfigError for a plain vault where `encrypt` is declared, IntegrityError for a rollback."""
    if wanted.spec.key_url and not vault.encrypted:
        raise ConfigError(
            f"expected a sealed vault for {dataset}, found a plain one in {vault.store.url}: encryption is chosen when a vault "
            "is made, so point ORCHESTRAI_VAULT_URL at a new one"
        )
    declared, actual = wanted.spec.key_url, vault.encryption.name if vault.encryption else ""
    if (declared and declared.partition(":")[0] != actual.partition(":")[0]) or ("://" in declared and declared != actual):
        raise ConfigError(
            f"expected the data key of {vault.store.url} to be wrapped by {declared} for {dataset}, found {actual}: run `orchestrai vault "
            "rewrap --to` it first"
        )
    anchored = wanted.anchor.check(vault.catalog) if wanted.anchor else None
    if anchored is not None:
        anchored.require_none()


def protect(
    vault: Vault, kept: Mapping[str, JsonValue], wanted: Protection, *, progress: Progress | None = None
) -> dict[str, JsonValue]:
    """Lock a snapshot, copy the vault to its replicas, anchor and witness it, each where declared; returns what was done. Idempotent.

    `kept` are the facts that `snapshot` told; for a refused one there is nothing to do. A store that cannot lock is told of as
    `locked: false`. Raises StorageError or IntegrityError when a replica was not written or does not verify, after the other replicas,
    anchor and witness were seen to: the snapshot stands then, and a repeat does what is missing.
    """
    from orchestrai.storage.cloud.control import control_plane

    facts: dict[str, JsonValue] = {}
    if "snapshot_id" not in kept:
        return facts  # refused: there is no snapshot to protect
    dataset, seq = kept["dataset"], kept["snapshot_seq"]
    commit = vault.get(str(kept["snapshot_id"]), (str(dataset), seq) if isinstance(seq, int) else None)
    if held_by(holds(vault.store, vault.keyring, vault.identity()), commit) is not None:
        from orchestrai.vault.lifecycle.legal_hold import extend_hold

        held = extend_hold(vault, commit.dataset, [commit], control_plane(vault.store), beyond=True)
        facts |= {"held": True, "hold_enforced": held.enforced}
    if wanted.spec.lock:
        lock = lock_snapshot(vault, commit, control_plane(vault.store), wanted.spec.lock)
        facts |= {"locked": lock.locked, "lock_mode": lock.mode, "lock_reason": lock.reason}
        facts["locked_until"] = lock.until.isoformat() if lock.until else None
    copied, failed = copy_to_each(vault, wanted.replicas, progress=progress)
    facts |= copied
    if wanted.anchor:
        wanted.anchor.update(vault)
        facts["anchor_seq"] = commit.seq
    if wanted.witness:
        anchored = wanted.anchor.path.read_bytes() if wanted.anchor else b""
        moved = {commit.dataset: Place(commit.seq, commit.digest)}
        facts |= wanted.witness.of(vault).note(vault, moved, anchored)
    if failed is not None:
        raise failed
    return facts


def copy_to_each(
    vault: Vault, urls: Sequence[str], *, progress: Progress | None = None
) -> tuple[dict[str, JsonValue], OrchestraiError | None]:
    """Replicate to every URL, whatever becomes of the others; tells what was copied where, and the first that failed."""
    done: list[dict[str, JsonValue]] = []
    failed: OrchestraiError | None = None
    for url in urls:
        try:
            done.append(copy_to(vault, url, progress=progress))
        except (StorageError, IntegrityError) as exc:
            failed = failed or exc
    if not done:
        return {}, failed
    # the first one's facts as they were while there was one
    return done[0] | ({"replicas": list[JsonValue](done)} if len(urls) > 1 else {}), failed


def copy_to(vault: Vault, url: str, *, progress: Progress | None = None, full: bool = False) -> dict[str, JsonValue]:
    """Replicate the vault to another store and tell what was copied; raises IntegrityError when the replica does not verify."""
    from orchestrai.storage.limits import limited, limits_of

    target = limited(open_store(url), limits_of(vault.store))
    if target.url == vault.store.url:
        raise ConfigError(f"expected a replica in another store than the vault, found {target.url} for both: name another")
    report = replicate(vault, target, progress=progress, full=full)
    if not report.verified.ok:
        first = report.verified.findings[0]
        raise IntegrityError(
            f"expected a sound replica in {report.target}, found {len(report.verified.findings)} problem(s), first {first.key}: "
            f"{first.problem}"
        )
    return {
        "replica": report.target,
        "replica_copied": report.copied,
        "replica_bytes": report.bytes,
        "replica_verified": report.verified.snapshots,
    }
