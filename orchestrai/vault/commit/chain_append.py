"""Appends a note to a dataset's chain: at the next position, by put-if-absent, as often as another record takes it first."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from orchestrai.errors import ConcurrentCommit, IntegrityError, MissingObject, ObjectExists
from orchestrai.ledger.trust.key_log import ROLES
from orchestrai.vault.chain.chain_head import EMPTY, Head
from orchestrai.vault.format.layout import commit_key
from orchestrai.vault.format.records import ChainNote
from orchestrai.vault.vault_store import OpenedVault

if TYPE_CHECKING:
    from orchestrai.storage.cloud.control import ControlPlane

MAX_ATTEMPTS = 100
# of which a key must have one to append a note
NOTE_ROLES = {"fence": ("prune",), "hold": ("write", "release"), "opened": ROLES}


def append_note(vault: OpenedVault, dataset: str, note: Callable[[Head, str], ChainNote]) -> ChainNote:
    """Append what `note` makes of the chain's head and of a time; raises ConcurrentCommit, KeyRefused, or, without a
    vault, MissingObject.

    The time is that of the record before it: a note made by a clock that is ahead must not move the times of the commits behind it.
    """
    if not vault.identity():
        raise MissingObject(f"expected a vault in {vault.store.url}, found none: take a snapshot first")
    for _ in range(MAX_ATTEMPTS):
        head = vault.catalog.head(dataset)
        if head.seq == EMPTY:
            open_chain(vault, dataset, vault.new_id(), vault.store_time())
            continue
        made = replace(note(head, head.time.isoformat()), key_log=vault.key_log)
        if put_record(vault, commit_key(dataset, made.seq), made.sign(vault.signer)):
            # a note by a key that is being ended may not count, and nothing may rest on it
            vault.require_may(*NOTE_ROLES[made.kind])
            return made
    raise ConcurrentCommit(
        f"expected to append to the chain of {dataset} within {MAX_ATTEMPTS} tries, found a rival each time: run it again"
    )


def open_chain(vault: OpenedVault, dataset: str, session: str, time: datetime) -> None:
    """Begin a chain, before the first byte of its dataset is written, so that a prune which lists bytes knows it. Idempotent."""
    note = ChainNote(vault.identity(), dataset, EMPTY + 1, "", "opened", session, time.isoformat(), key_log=vault.key_log)
    put_record(vault, commit_key(dataset, note.seq), note.sign(vault.signer))


def put_record(vault: OpenedVault, key: str, envelope: bytes) -> bool:
    """Put a record if its position is free; an answer that was lost is settled by reading back.

    Raises IntegrityError where the store keeps versions and one lies below, or another record came over ours: somebody hid a record,
    perhaps the fence of a prune, or this very one before its answer came.
    """
    taken = False
    try:
        version = vault.store.write(key, envelope, create=True).version
    except ObjectExists:
        taken, version = True, vault.store.head(key).version
    if not version or not (control := _control_plane(vault)):
        return not taken or vault.store.read(key) == envelope
    from orchestrai.vault.replica.hidden_versions import hidden_under

    hidden = next(hidden_under(control, key), None) is not None
    # what was hidden there may have been brought back over ours before we looked
    ours = vault.store.read(key) == envelope
    if hidden or not (taken or ours):
        raise IntegrityError(
            f"expected {key} to be free, found that a record was hidden there: run `orchestrai vault heal --apply`, then this again",
            key=key,
        )
    return ours


def _control_plane(vault: OpenedVault) -> "ControlPlane | None":
    # loaded here: a store that keeps no versions, such as a folder, needs nothing of what is said of clouds
    from orchestrai.storage.cloud.control import control_plane

    return control_plane(vault.store)
