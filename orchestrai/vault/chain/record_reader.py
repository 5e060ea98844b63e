"""The signed records of chains, their ends and their tombstones: found, read, verified, and kept by etag.

A record counts exactly if it is signed for its place. No time of the store is read to judge, so that any copy of a vault says the same.
"""

from collections.abc import Callable, Collection, Iterator, Mapping

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import IntegrityError, NotCounted, ObjectNotFound
from orchestrai.ledger.signing import Keyring
from orchestrai.storage.base import ObjectInfo, Store
from orchestrai.vault.chain.chain_head import Head, state_of
from orchestrai.vault.chain.numbered_logs import log_names
from orchestrai.vault.format.layout import FORGOTTEN, SNAPSHOTS, commit_key, numbered, tombstone_key
from orchestrai.vault.format.records import (
    TOMBSTONE_TYPE,
    ChainNote,
    ChainRecord,
    Tombstone,
    document,
    open_record,
    require_place,
)

# chains of fewer records are listed
_STEP = 64


class RecordReader:
    """Reads chains and tombstones, each record verified; keeps what it read, by its etag."""

    def __init__(self, store: Store, keyring: Keyring, vault: Callable[[], str]) -> None:
        self.store = store
        self.keyring = keyring
        self.vault = vault
        self._read: dict[tuple[str, str], ChainRecord] = {}
        self._tombstones: set[tuple[str, str]] = set()
        self._void: dict[tuple[str, str], NotCounted] = {}

    def infos(self, prefix: str, dataset: str | None = None, after: int = 0) -> Iterator[ObjectInfo]:
        """The numbered objects under a prefix, those of one dataset from number `after` + 1 on where it is given."""
        folder = prefix if dataset is None else f"{prefix}{dataset}/"
        for info in self.store.list(folder, start_after=f"{folder}{after:012d}.json" if after > 0 else None):
            place = numbered(prefix, info.key)
            if place is not None and dataset in (None, place[0]):
                yield info

    def chains(self) -> list[str]:
        """Every dataset that has a chain, sorted."""
        places = (numbered(SNAPSHOTS, info.key) for info in self.infos(SNAPSHOTS))
        return sorted({place[0] for place in places if place is not None})

    def names(self, known: Mapping[str, int]) -> list[str]:
        """As `chains`, without a look at the records up to the number that is `known` of a chain, for who looks at what is new.

        Chains that are known are named whether or not they are there.
        """
        return log_names(self.store, SNAPSHOTS, known)

    def near_end(self, dataset: str) -> int:
        """The number of a record from which a listing of the chain may begin; 0 for its beginning. A hint: the listing decides.

        Looked for by doubling, so that a long chain costs some 2 log2(n) looks.
        """
        if self.store.local_path(commit_key(dataset, 0)) is None:
            return 0  # a page of a listing costs less than the looks
        last, step = 0, _STEP
        while self.has(dataset, last + step):
            last, step = last + step, step * 2
        while step > _STEP:
            step //= 2
            last += step if self.has(dataset, last + step) else 0
        return last

    def has(self, dataset: str, seq: int) -> bool:
        """Whether a record of that number is there; what it says is not looked at."""
        return self.info(commit_key(dataset, seq)) is not None

    def info(self, key: str) -> ObjectInfo | None:
        """What a store says of a record; None where it is not there."""
        try:
            return self.store.head(key)
        except ObjectNotFound:
            return None

    def record(self, info: ObjectInfo) -> ChainRecord:
        """Read and verify a listed record; raises SignatureInvalid, IntegrityError, and NotCounted where its key may not sign it."""
        record = self._read.get((info.key, info.etag))
        if record is None:
            if (info.key, info.etag) in self._void:
                raise self._void[info.key, info.etag]
            try:
                record = open_record(self.keyring, self.store.read(info.key))
            except NotCounted as exc:
                self._void[info.key, info.etag] = exc
                raise
            require_place(record, self.vault(), *(numbered(SNAPSHOTS, info.key) or ("", 0)))
            self._read[info.key, info.etag] = record
        return record

    def records(self, dataset: str | None = None, *, strict: bool = True) -> list[ChainRecord]:
        """Every record by dataset and number that counts. A damaged one raises, unless it was forgotten or `strict` is off."""
        records: list[ChainRecord] = []
        gone: set[tuple[str, int]] | None = None
        for info in self.infos(SNAPSHOTS, dataset):
            try:
                records.append(self.record(info))
            except NotCounted:
                continue
            except IntegrityError:
                gone = self.tombstones(dataset, strict=False) if gone is None else gone
                if strict and numbered(SNAPSHOTS, info.key) not in gone:
                    raise
        return sorted(records, key=lambda record: (record.dataset, record.seq))

    def head(self, dataset: str, after: int = 0, *, strict: bool = True) -> Head:
        """The end of a chain; what comes before number `after`, which is known to be there, is not listed.

        A damaged record at the end raises, unless it was forgotten by its number or `strict` is off.
        """
        infos = list(self.infos(SNAPSHOTS, dataset, after - 1))
        newest = numbered(SNAPSHOTS, infos[-1].key) if infos else None
        gone: set[tuple[str, int]] | None = None
        for info in reversed(infos):
            try:
                record = self.record(info)
            except NotCounted:
                # it takes its number, and says nothing
                continue
            except IntegrityError:
                gone = self.tombstones(dataset) if gone is None else gone
                if strict and numbered(SNAPSHOTS, info.key) not in gone:
                    raise
                continue
            state = state_of(record)
            if newest is None or record.seq == newest[1]:
                return state
            return state._replace(seq=newest[1], digest=sha256_hex(self.store.read(infos[-1].key)))
        if newest is None:
            return Head()
        if after > 0:
            return self.head(dataset, strict=strict)
        return Head(newest[1], sha256_hex(self.store.read(infos[-1].key)))

    def note(self, dataset: str, seq: int) -> ChainNote:
        """A note that a later record points to; raises IntegrityError where it is missing or something else, NotCounted."""
        return self.note_envelope(dataset, seq)[0]

    def newest_note(self, dataset: str, seq: int, kind: str) -> int:
        """The newest note of a kind up to number `seq` that counts, where a later record points to one that does not; 0 for none."""
        while seq > 0:
            try:
                state = state_of(open_record(self.keyring, self.store.read(commit_key(dataset, seq))))
            except (NotCounted, ObjectNotFound):
                seq -= 1
                continue
            return state.fence if kind == "fence" else state.holds
        return 0

    def note_envelope(self, dataset: str, seq: int) -> tuple[ChainNote, bytes]:
        """As `note`, with its envelope."""
        try:
            envelope = self.store.read(commit_key(dataset, seq))
            record = open_record(self.keyring, envelope)
        except ObjectNotFound:
            raise IntegrityError(
                f"expected record {seq} of {dataset}, found it gone: run `orchestrai vault heal --apply`"
            ) from None
        require_place(record, self.vault(), dataset, seq)
        if not isinstance(record, ChainNote):
            raise IntegrityError(
                f"expected a note under number {seq} of {dataset}, found a commit: run `orchestrai vault heal --apply`"
            )
        return record, envelope

    def fences(self, dataset: str, newest: int, since: int) -> Iterator[ChainNote]:
        """The fences up to number `newest` that came after number `since`, newest first."""
        while newest > since:
            try:
                fence = self.note(dataset, newest)
            except NotCounted:
                newest = self.newest_note(dataset, newest, "fence")
                continue
            yield fence
            newest = fence.fence

    # -- tombstones ------------------------------------------------------------------------------------------

    def tombstones(self, dataset: str | None = None, *, strict: bool = True) -> set[tuple[str, int]]:
        """The snapshots that have a tombstone; raises for one that is not signed for its place, unless `strict` is off."""
        places = set()
        for info in self.infos(FORGOTTEN, dataset):
            try:
                self.require_tombstone(info)
            except NotCounted:
                continue
            except IntegrityError:
                if strict:
                    raise
                continue
            place = numbered(FORGOTTEN, info.key)
            if place is not None:
                places.add(place)
        return places

    def other_stones(self, dataset: str, last: int, known: Collection[int]) -> Iterator[ObjectInfo]:
        """The tombstones of a chain's numbers up to `last` but those that are `known`; not verified.

        On this machine's disk, where most numbers are known, the others are looked up one by one: what was forgotten long ago is not
        listed again each time.
        """
        if len(known) * 2 > last and self.store.local_path(tombstone_key(dataset, 0)) is not None:
            looked_up = (self.info(tombstone_key(dataset, seq)) for seq in range(last + 1) if seq not in known)
            yield from (info for info in looked_up if info is not None)
            return
        for info in self.infos(FORGOTTEN, dataset):
            place = numbered(FORGOTTEN, info.key)
            if place is not None and place[1] not in known:
                yield info

    def tombstone(self, key: str) -> Tombstone:
        """Read and verify a tombstone; raises ObjectNotFound, SignatureInvalid."""
        return Tombstone(**document(self.keyring, TOMBSTONE_TYPE, self.store.read(key)))

    def require_tombstone(self, info: ObjectInfo) -> None:
        """Raise SignatureInvalid or IntegrityError for a tombstone that is not signed for its place."""
        place = numbered(FORGOTTEN, info.key)
        if place is not None and (info.key, info.etag) not in self._tombstones:
            require_place(self.tombstone(info.key), self.vault(), *place)
            self._tombstones.add((info.key, info.etag))

    def is_tombstone(self, info: ObjectInfo) -> bool:
        """Whether a tombstone counts; raises as `require_tombstone` for a damaged one."""
        try:
            self.require_tombstone(info)
        except NotCounted:
            return False
        return True

    def stone(self, dataset: str, seq: int) -> Tombstone | None:
        """The tombstone of a number, where it is signed for its place."""
        try:
            stone = self.tombstone(tombstone_key(dataset, seq))
            require_place(stone, self.vault(), dataset, seq)
        except (IntegrityError, ObjectNotFound):
            return None
        return stone
