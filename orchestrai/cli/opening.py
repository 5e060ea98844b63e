"""How the `vault` commands find their vault, dataset, snapshot and partitions."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.proof import open_ledger
from orchestrai.errors import ConfigError, RestoreError
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from orchestrai.pipeline import Project
    from orchestrai.vault import SnapshotCommit, Vault

VaultUrl = Annotated[str | None, typer.Option("--vault", help="URL of another vault, such as the replica")]
SnapshotId = Annotated[str, typer.Argument(help="a snapshot's id, or a beginning of it that only one has")]


def declared_project() -> "Project":
    """Every deployed pipeline."""
    from orchestrai.pipeline import load_project, pipeline_folders

    return load_project(pipeline_folders(load_settings().pipelines))


def open_or_none(url: str | None, *, may_be_new: bool = False) -> "Vault | None":
    """The vault of the settings or at a URL; None, or RestoreError, where nothing was ever backed up. Never makes one."""
    from orchestrai.pipeline.backup import is_sealed, open_vault
    from orchestrai.storage import open_store

    ledger, settings = open_ledger(), load_settings()
    store = open_store(url or settings.vault)
    if is_sealed(store, ledger.keyring) is None:
        if may_be_new:
            return None
        raise RestoreError(f"expected a vault in {store.url}, found none: take a snapshot first, or give --vault")
    return open_vault(ledger, settings.key_folder, lambda: False, store)


def open_existing(url: str | None) -> "Vault":
    """The vault of the settings or at a URL; raises RestoreError where nothing was ever backed up."""
    found = open_or_none(url)
    assert found is not None
    return found


def name_in(kept: "Vault", given: str) -> str:
    """A dataset's name in the vault: as given, or the raw events of a declared dataset."""
    known = kept.datasets()
    for name in (given, f"{given}/raw_events"):
        if name in known:
            return name
    raise RestoreError(f"expected one of the datasets {', '.join(known) or '(none)'}, found {given!r}")


def chosen(kept: "Vault", what: str, as_of: str | None, tag: str | None, snapshot_id: str | None) -> "SnapshotCommit":
    """The snapshot a person means by a dataset or an id, and at most one option; raises ConfigError, RestoreError."""
    if sum(option is not None for option in (as_of, tag, snapshot_id)) > 1:
        raise ConfigError("expected at most one of --as-of, --tag and --id, found more")
    if snapshot_id is not None:
        commit = kept.get(snapshot_id)
        if commit.dataset != name_in(kept, what):
            raise ConfigError(f"expected a snapshot of {what}, found {snapshot_id} of {commit.dataset}")
        return commit
    if as_of is None and tag is None and what not in (names := kept.datasets()) and f"{what}/raw_events" not in names:
        return kept.get(what)
    return kept.latest(name_in(kept, what), moment_of(as_of) if as_of else None, tag)


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
    """The keys from A to B of `A..B`, as their names sort, or the one named."""
    if wanted is None:
        return list(keys)
    first, dots, last = wanted.partition("..")
    found = [key for key in keys if first <= key and (key <= last if dots else key == first)]
    if not found:
        raise RestoreError(f"expected partitions {wanted} in the snapshot, found none of them: see `vault show`")
    return found
