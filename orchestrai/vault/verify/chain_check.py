"""Are the chains whole, and is all there that they name: identity, data keys, holds, tombstones?"""

from collections.abc import Iterable, Iterator, Mapping

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import IntegrityError, NotCounted, ObjectNotFound
from orchestrai.storage.base import ObjectInfo
from orchestrai.vault.chain.chain_head import Head
from orchestrai.vault.chain.chain_reader import ChainReader
from orchestrai.vault.format.layout import (
    DATA_KEYS,
    FORGOTTEN,
    HOLDS,
    IDENTITY,
    SNAPSHOTS,
    commit_key,
    numbered,
    tombstone_key,
)
from orchestrai.vault.format.records import ChainNote, ChainRecord, SnapshotCommit, require_place
from orchestrai.vault.lifecycle.hold_records import HOLD_RECORDS, chained_holds, recorded_holds
from orchestrai.vault.verify.proven import Proven
from orchestrai.vault.verify.verification import Walk


def check_chains(walk: Walk, dataset: str | None, proven: Proven | None = None) -> list[ChainRecord]:
    """Walk every chain as the store has it now; returns its notes and the snapshots that count, whatever else is wrong.

    Of what was `proven` before only the last record of each chain is looked at, on which what came since must follow.
    """
    vault = walk.vault
    # a reader that remembers nothing: a record may have been altered since it was read
    reader = ChainReader(vault.store, vault.keyring, vault.identity)
    for info in () if proven else vault.store.list(SNAPSHOTS if dataset is None else f"{SNAPSHOTS}{dataset}/"):
        if numbered(SNAPSHOTS, info.key) is None:
            walk.note(info.key, "expected a record's number as its name, found another: remove it")
    good: list[ChainRecord] = []
    before = proven.chains if proven else {}
    numbers = {name: reached.seq for name, reached in before.items()}
    names = (reader.names(numbers) if before else reader.chains()) if dataset is None else [dataset]
    for name in names:
        reached = before.get(name)
        records, problems = reader.walk(name, reached.seq if reached else 0)
        for key, problem in problems:
            walk.note(key, problem)
        if reached and records and (records[0].seq, records[0].digest) != (reached.seq, reached.digest):
            walk.note(
                commit_key(name, reached.seq),
                "expected the record that was found sound before, found another: verify the whole",
            )
        walk.reach(name, records, reached)
        good += records
    starts = {name: before[name].seq if name in before else 0 for name in names} if before else {}
    stones = _stones(walk, dataset, starts)
    gone = _check_tombstones(walk, reader, stones, {(one.dataset, one.seq): one for one in good})
    newest = {commit.dataset: commit for commit in good if isinstance(commit, SnapshotCommit)}
    for commit in newest.values():
        _check_named(walk, commit)
    _check_holds(walk, reader, dataset, walk.heads if before else None)
    return [one for one in good if (one.dataset, one.seq) not in gone]


def _stones(walk: Walk, dataset: str | None, starts: Mapping[str, int]) -> Iterator[ObjectInfo]:
    """The tombstones, of chains that were looked at before those behind what was reached then."""
    store = walk.vault.store
    if not starts:
        yield from store.list(FORGOTTEN if dataset is None else f"{FORGOTTEN}{dataset}/")
        return
    for name, reached in starts.items():
        yield from store.list(f"{FORGOTTEN}{name}/", start_after=tombstone_key(name, reached) if reached else None)


def _check_tombstones(
    walk: Walk, reader: ChainReader, stones: Iterable[ObjectInfo], records: Mapping[tuple[str, int], ChainRecord]
) -> set[tuple[str, int]]:
    """The snapshots that a sound tombstone or a fence calls forgotten."""
    gone: set[tuple[str, int]] = set()
    for info in stones:
        place = numbered(FORGOTTEN, info.key)
        try:
            stone = reader.tombstone(info.key)
            if place is None:
                raise IntegrityError("expected a record's number as its name, found another: remove it")
            require_place(stone, walk.vault.identity(), *place)
            record = records.get(place)
            if record is not None and stone.commit not in (record.digest, ""):
                raise IntegrityError("expected a tombstone of this commit, found one of another: treat it as forged")
            gone.add(place)
        except (IntegrityError, ObjectNotFound, TypeError) as exc:
            walk.note(info.key, exc)
    notes = [note for note in records.values() if isinstance(note, ChainNote)]
    fenced = {(note.dataset, seq) for note in notes for seq in note.forgotten_numbers}
    for place in sorted((fenced - gone) & records.keys()):
        walk.note(
            tombstone_key(*place),
            "expected the tombstone of a snapshot that the chain calls forgotten, found none: run `orchestrai vault heal --apply`",
        )
    # a tombstone that came while a hold was placed does not count: what is held is looked at
    holds = {note.dataset: note.seq for note in notes if note.kind == "hold"}
    return fenced | {(name, seq) for name, seq in gone if reader.standing(name, {seq}, holds.get(name, 0))}


def _check_named(walk: Walk, newest: SnapshotCommit) -> None:
    """The identity and the wrapped data keys are those that the newest commit names; those of format 1 and 2 name none."""
    named = {f"{DATA_KEYS}{name}": digest for name, digest in newest.keys.items()}
    named |= {IDENTITY: newest.identity} if newest.identity else {}
    for key, digest in named.items():
        try:
            actual = sha256_hex(walk.vault.store.read(key))
        except ObjectNotFound:
            actual = ""
        if actual != digest:
            what = "another" if actual else "none"
            walk.note(
                key,
                f"expected {key} as snapshot {newest.seq} of {newest.dataset} names it, found {what}: run `orchestrai vault heal --apply`",
            )


def _check_holds(walk: Walk, reader: ChainReader, dataset: str | None, heads: Mapping[str, Head] | None) -> None:
    vault = walk.vault
    try:
        recorded = recorded_holds(vault.store, vault.keyring, vault.identity())
        chained = chained_holds(reader, dataset, heads=heads)
    except (IntegrityError, TypeError, ValueError) as exc:
        walk.note(HOLDS, exc)
        return
    for key in HOLD_RECORDS.keys(vault.store):
        try:
            HOLD_RECORDS.read(vault.store, vault.keyring, key)
        except NotCounted as exc:
            walk.note(key, exc)
    for place in sorted(chained.keys() - recorded.keys()):
        key = chained[place].key
        walk.note(
            key,
            "expected the record of a hold that the chain knows, found it gone: it holds still; run `orchestrai vault heal --apply`",
        )
