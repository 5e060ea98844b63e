"""How commands find their ledger, records, vault, dataset, snapshot and partitions."""

import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.output import TRANSFER_LIMIT, err
from orchestrai.core.actor import said_by
from orchestrai.core.time.partition_key import Key
from orchestrai.core.transfer_rate import parse_rate
from orchestrai.errors import ConfigError, RestoreError
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from orchestrai.ledger.ledger import Ledger
    from orchestrai.ledger.signing import Keyring, Signer
    from orchestrai.pipeline.load import Project
    from orchestrai.pipeline.runtime import Runtime
    from orchestrai.provenance.verified_records import Records
    from orchestrai.storage.base import Store
    from orchestrai.vault.format.records import SnapshotCommit
    from orchestrai.vault.keys.key_port import KeyPort
    from orchestrai.vault.vault import Vault

VaultUrl = Annotated[str | None, typer.Option("--vault", help="URL of another vault, such as the replica")]
RecordsUrl = Annotated[str | None, typer.Option("--vault", help="URL of the vault; default: the one in the settings")]
KeyFile = Annotated[
    list[Path] | None, typer.Option("--key", help="public key (PEM) whose signatures count; may be repeated")
]
KeyFolder = Annotated[
    Path | None, typer.Option("--keys", help="folder with the key of a sealed vault; default: that of the settings")
]
Limit = Annotated[
    str | None,
    typer.Option(
        "--limit",
        help="bytes a second to and from each store at most, e.g. 20MB/s; default: ORCHESTRAI_TRANSFER_LIMIT",
        callback=lambda rate: _limit_transfers(rate),
    ),
]
SnapshotId = Annotated[str, typer.Argument(help="a snapshot's id, or a beginning of it that only one has")]


def _limit_transfers(rate: str | None) -> str | None:
    """For the rest of this command, as if the setting said so; raises ConfigError."""
    if rate is not None:
        parse_rate(rate)
        os.environ[TRANSFER_LIMIT] = rate
    return rate


def open_ledger() -> "Ledger":
    """The ledger of the settings, without loading any pipeline: its records, and no bytes. `open_runtime` has one for use."""
    from orchestrai.ledger.ledger import open_ledger as open_by_settings

    return open_by_settings(load_settings())


def open_records(vault: str | None, keys: Sequence[Path] | None) -> "tuple[Store, Keyring]":
    """A vault's records and the public keys to trust, from options or else from the settings; makes no key."""
    from orchestrai.ledger.signing import load_keyring
    from orchestrai.ledger.trust.key_rules import governed
    from orchestrai.ledger.trust.trust_list import trusted_keyring
    from orchestrai.storage.url import open_store

    settings = load_settings()
    for path in keys or ():
        if not path.is_file():
            raise ConfigError(f"expected a public key at {path}, found no file")
    keyring = load_keyring(path.read_bytes() for path in keys) if keys else trusted_keyring(settings.key_folder)
    if not keyring.keys:
        raise ConfigError("expected a public key to check signatures with, found none: give --key PUB.pem")
    store = open_store(vault or settings.vault)
    return store, governed(store, keyring, folder=None if keys else settings.key_folder, copy=vault is not None)


def vault_key(store: "Store", keyring: "Keyring", folder: Path | None) -> "KeyPort | None":
    """What opens the bytes of a sealed vault; None for a plain one, or where there is no vault. Makes no key, writes nothing."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from orchestrai.ledger.ledger import Ledger
    from orchestrai.ledger.signing import Signer
    from orchestrai.vault.protection import is_sealed, open_vault

    if not is_sealed(store, keyring):
        return None
    ledger = Ledger(store, Signer(Ed25519PrivateKey.generate()), keyring, vault=store)
    return open_vault(ledger, folder or load_settings().key_folder, lambda: False).encryption


def chosen_records(vault: str | None, keys: Sequence[Path] | None) -> "tuple[Records, Signer | None]":
    """The lake's records and its signing key; where a vault or keys are given, that vault's records and no signing key."""
    from orchestrai.provenance.verified_records import Records

    if vault is None and not keys:
        ledger = open_ledger()
        return Records(ledger.lake, ledger.keyring), ledger.signer
    return Records(*open_records(vault, keys)), None


def this_user(by: str | None = None) -> str:
    """Who runs this process, for signed records; a name given by --by is kept as claimed, and believed only where nobody is known."""
    from orchestrai.storage.cloud.known_person import known_person

    known, _ = known_person(load_settings())
    return said_by(by, known, f"uid {os.getuid()}")


def open_runtime() -> "Runtime":
    """What runs the deployed pipelines; those that are left out are told on stderr."""
    from orchestrai.pipeline.runtime import Runtime

    runtime = Runtime(load_settings())
    _tell_left_out(runtime.project)
    return runtime


def declared_project() -> "Project":
    """Every deployed pipeline that can be read; those that are left out are told on stderr."""
    from orchestrai.pipeline.load import load_pipelines, pipeline_folders

    project = load_pipelines(pipeline_folders(load_settings().pipelines))
    _tell_left_out(project)
    return project


def declared_replicas() -> list[str]:
    """The URLs of all replicas that are declared or in the settings."""
    from orchestrai.pipeline.graph import declared_backups
    from orchestrai.vault.protection import replicas_of

    backups = declared_backups(tuple(declared_project().nodes.values()))
    return replicas_of(backups.values(), load_settings())


def _tell_left_out(project: "Project") -> None:
    for pipeline in project.left_out:
        message = f"left out: {pipeline.name}: {pipeline.mistakes[0].message}"
        more = len(pipeline.mistakes) - 1
        err.print(message + (f" (and {more} more: see orchestrai check)" if more else ""), markup=False, soft_wrap=True)


def open_or_none(url: str | None, *, may_be_new: bool = False) -> "Vault | None":
    """The vault of the settings or at a URL; None, or RestoreError, where nothing was ever backed up. Never makes one."""
    from orchestrai.storage.url import open_within_limits
    from orchestrai.vault.protection import is_sealed, keyring_for, open_vault

    ledger, settings = open_ledger(), load_settings()
    store = open_within_limits(url or settings.vault, settings)
    if is_sealed(store, keyring_for(ledger, store, settings.key_folder)) is None:
        if may_be_new:
            return None
        raise RestoreError(f"expected a vault in {store.url}, found none: take a snapshot first, or give --vault")
    vault = open_vault(ledger, settings.key_folder, lambda: False, store)
    if settings.engine == "spark" or settings.spark_threshold_bytes:
        # here, because it loads the engines
        from orchestrai.pipeline.engines import open_session, vault_spread

        vault.spread = vault_spread(settings, lambda: open_session(settings), store, ledger.lake)
    return vault


def open_existing(url: str | None) -> "Vault":
    """The vault of the settings or at a URL; raises RestoreError where nothing was ever backed up."""
    vault = open_or_none(url)
    assert vault is not None
    return vault


# how the vault calls what is kept of a dataset, a feature view, a model, a database, and the definitions
KEPT = ("raw_events", "features", "registry", "dump", "base", "files")
# the assets by which a person may name it
BACKUP_STAGES = ("snapshot", "restored", "feature_backup", "model_backup", "cold_copy", "drill")


def name_in(vault: "Vault", given: str) -> str:
    """A dataset's name in the vault: as given, by `<pipeline>/<name>`, or by the asset of its backup; by any name that it had."""
    from orchestrai.ledger.decisions.renames import renames_in

    known = vault.datasets()
    given = renames_in(vault.store, vault.keyring).key(given)
    prefix, _, stage = given.rpartition("/")
    subject = prefix if stage in BACKUP_STAGES else given
    for name in (given, *(f"{subject}/{kind}" for kind in KEPT)):
        if name in known:
            return name
    raise RestoreError(f"expected one of the datasets {', '.join(known) or '(none)'}, found {given!r}")


def chosen(vault: "Vault", what: str, as_of: str | None, tag: str | None, snapshot_id: str | None) -> "SnapshotCommit":
    """The snapshot a person means by a dataset or an id, and at most one option; raises ConfigError, RestoreError."""
    if sum(option is not None for option in (as_of, tag, snapshot_id)) > 1:
        raise ConfigError("expected at most one of --as-of, --tag and --id, found more")
    if snapshot_id is not None:
        commit = vault.get(snapshot_id)
        if commit.dataset != name_in(vault, what):
            raise ConfigError(f"expected a snapshot of {what}, found {snapshot_id} of {commit.dataset}")
        return commit
    if as_of is None and tag is None and "/" not in what and what not in vault.datasets():
        return vault.get(what)
    return vault.latest(name_in(vault, what), moment_of(as_of) if as_of else None, tag)


def moment_of(text: str) -> datetime:
    """A time as people write it, UTC unless it says otherwise."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise ConfigError(f"expected a time such as 2011-04-01 or 2011-04-01T12:00:00Z, found {text!r}") from exc
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def sample_of(text: str | None) -> tuple[int, int] | None:
    """`N/M` as a pair; raises ConfigError."""
    if text is None:
        return None
    part, slash, parts = text.partition("/")
    if not (slash and part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise ConfigError(f"expected a sample N/M such as 7/30, N from 1 to M, found {text!r}")
    return int(part), int(parts)


def span_of(keys: Iterable[str], wanted: str | None) -> list[str]:
    """The keys from A to B of `A..B`, as their names sort, or the one named; of a time all its values, or from one to the other."""
    if wanted is None:
        return list(keys)
    first, dots, last = wanted.partition("..")
    low, high = Key.of(first), Key.of(last if dots else first)
    partitions = [key for key in keys if Key.of(key).between(low, high)]
    if not partitions:
        raise RestoreError(f"expected partitions {wanted} in the snapshot, found none of them: see `vault show`")
    return partitions
