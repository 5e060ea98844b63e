"""The chain of each dataset: its signed records, what its head says of it, what was forgotten, and whether it is whole.

A record counts exactly if it is signed for its place. No time of the store is read to judge, so that any copy of a vault says the same.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import IntegrityError, NotCounted, ObjectNotFound
from orchestrai.ledger.signing import Keyring, rules_of
from orchestrai.storage.base import ObjectInfo, Store
from orchestrai.vault.format.layout import FORGOTTEN, SNAPSHOTS, commit_key, numbered, tombstone_key
from orchestrai.vault.format.records import (
    HOLD_TYPE,
    NEVER,
    TOMBSTONE_TYPE,
    ChainNote,
    ChainRecord,
    Tombstone,
    document,
    open_record,
    require_place,
)

EMPTY = -1
# the highest number that a key can hold
_LAST = 10**12 - 1
# chains of fewer records are listed
_STEP = 64

# the number under which a whole dataset is held
WHOLE_DATASET = 0


class Head(NamedTuple):
    """The end of a chain: its newest record, and the newest fence and hold note up to it (0 where there is none)."""

    seq: int = EMPTY
    digest: str = ""
    time: datetime = NEVER
    fence: int = 0
    holds: int = 0


class ChainReader:
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

    def names(self) -> list[str]:
        """As `chains`, without a look at each record, for who looks at what is new.

        A chain that lies below another's name, under one that begins with a digit, is told by `chains` alone.
        """
        names: set[str] = set()
        after: str | None = None
        while (info := next(iter(self.store.list(SNAPSHOTS, start_after=after)), None)) is not None:
            place = numbered(SNAPSHOTS, info.key)
            names |= {place[0]} if place else set()
            after = commit_key(place[0], _LAST) if place else info.key
        return sorted(names)

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

    def numbers(self, dataset: str) -> set[int]:
        """The numbers of a chain's records, none of them read."""
        places = (numbered(SNAPSHOTS, info.key) for info in self.infos(SNAPSHOTS, dataset))
        return {place[1] for place in places if place is not None}

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
        return self._note(dataset, seq)[0]

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

    def _note(self, dataset: str, seq: int) -> tuple[ChainNote, bytes]:
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

    # -- what was forgotten ----------------------------------------------------------------------------------

    def forgotten(
        self, dataset: str | None = None, *, strict: bool = True, heads: Mapping[str, Head] | None = None
    ) -> set[tuple[str, int]]:
        """The snapshots that a tombstone or the newest fence of their chain calls forgotten.

        `heads` are the ends of the chains, where they are known.

        A tombstone that is not signed for its place raises, or hides nothing where `strict` is off; so does a damaged end of a chain.
        """
        places = self.tombstones(dataset, strict=strict)
        names = [dataset] if dataset is not None else self.chains() if heads is None else sorted(heads)
        for name in names:
            own = {seq for of, seq in places if of == name}
            try:
                head = heads[name] if heads is not None and name in heads else self.head(name)
                standing = self.standing(name, own, head.holds) | self.fenced(name, head.fence)
            except IntegrityError:
                if strict:
                    raise
                continue
            places = {place for place in places if place[0] != name} | {(name, seq) for seq in standing}
        return places

    def standing(self, dataset: str, stones: set[int], holds: int) -> set[int]:
        """Of the numbers that have a tombstone those that are forgotten by it, given the newest hold note.

        A tombstone that was written while a hold was placed does not count as long as that is on: the note of the hold says which were
        there before it.
        """
        if not stones or not holds:
            return stones
        before, bodies = self.held(dataset, holds)
        held = {int(hold["seq"]) for hold in bodies}
        return {seq for seq in stones if seq in before or not held & {seq, WHOLE_DATASET}}

    def held(self, dataset: str, holds: int) -> tuple[set[int], tuple[Mapping[str, Any], ...]]:
        """What the newest hold note says: the numbers that were forgotten before it, and the holds that are on.

        A note by a key that may not lift holds, or where that takes two, lifts only what has a release record that counts.
        """
        if not holds:
            return set(), ()
        try:
            note, envelope = self._note(dataset, holds)
        except NotCounted:
            return self.held(dataset, self.newest_note(dataset, holds, "hold"))
        rules = rules_of(self.keyring)
        if rules is None or rules.may_release(envelope):
            return note.forgotten_numbers, note.held
        there = {int(hold["seq"]) for hold in note.held}
        _, before = self.held(dataset, note.holds)
        kept = [hold for hold in before if int(hold["seq"]) not in there and not self.is_released(hold)]
        return note.forgotten_numbers, (*note.held, *kept)

    def is_released(self, hold: Mapping[str, Any]) -> bool:
        """Whether a record that counts, later than that of the placing, lifts a hold."""
        folder, _, placed = str(hold["key"]).rpartition("/")
        for info in self.store.list(f"{folder}/"):
            if info.key.rpartition("/")[2] > placed:
                try:
                    body = document(self.keyring, HOLD_TYPE, self.store.read(info.key))
                except (IntegrityError, ObjectNotFound):
                    continue
                if not body["on"] and (body["vault"], body["key"]) == (self.vault(), info.key):
                    return True
        return False

    def fenced(self, dataset: str, fence: int) -> set[int]:
        """The numbers that a fence calls forgotten; none for fence 0, which is no fence."""
        try:
            return self.note(dataset, fence).forgotten_numbers if fence else set()
        except NotCounted:
            return self.fenced(dataset, self.newest_note(dataset, fence, "fence"))

    def tombstones(self, dataset: str | None = None, *, strict: bool = True) -> set[tuple[str, int]]:
        """The snapshots that have a tombstone; raises as `forgotten`."""
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

    # -- whether it is whole ---------------------------------------------------------------------------------

    def whole(self, dataset: str) -> list[ChainRecord]:
        """Every record of a chain, from one listing; raises IntegrityError where it is not whole: nothing may be deleted then.

        A number that was forgotten may be missing or damaged.
        """
        records, problems = self.faults(dataset)
        for key, problem in problems:
            raise IntegrityError(
                f"{problem}; run `orchestrai vault heal`, or forget {dataset}@NUMBER where it is lost for good", key=key
            )
        return records

    def faults(self, dataset: str) -> tuple[list[ChainRecord], list[tuple[str, str]]]:
        """As `walk`, without the problems of numbers that were forgotten."""
        records, problems = self.walk(dataset)
        gone = self.tombstones(dataset, strict=False) if problems else set()
        return records, [(key, problem) for key, problem in problems if numbered(SNAPSHOTS, key) not in gone]

    def walk(self, dataset: str, start: int = 0) -> tuple[list[ChainRecord], list[tuple[str, str]]]:
        """The records of a chain that can be read, and what is missing in it, is damaged, or does not follow the record before it.

        Problems are told with the key of the record. A record that was forgotten as lost is no problem. Of what comes before number
        `start` nothing is looked at.
        """
        infos = {
            place[1]: info
            for info in self.infos(SNAPSHOTS, dataset, start - 1)
            if (place := numbered(SNAPSHOTS, info.key)) and place[1] >= start
        }
        records: dict[int, ChainRecord] = {}
        problems: list[tuple[str, str]] = []
        for seq, info in infos.items():
            try:
                records[seq] = self.record(info)
            except (IntegrityError, ObjectNotFound, TypeError, KeyError, ValueError) as exc:
                state = "that it does not count" if isinstance(exc, NotCounted) else "it damaged"
                problem = f"expected record {seq} of {dataset} as it was signed, found {state}: {exc}"
                problems.append((info.key, problem))
        opened = 0 in infos or (1 in records and bool(records[1].previous))
        for seq in range(max(start, 0 if opened else 1), max(infos, default=start) + 1):
            if seq not in infos and not self._given_up(dataset, seq):
                gap = f"expected record {seq} of {dataset}, found it gone: run `orchestrai vault heal --apply`"
                problems.append((commit_key(dataset, seq), gap))
        for seq, record in records.items():
            before = records.get(seq - 1)
            # a forgotten record may have been damaged, and be back: what came behind it names the damaged bytes
            follows = before is None or record.previous == before.digest
            if not follows and self._stone(dataset, seq - 1) is None:
                problem = f"expected record {seq} of {dataset} to follow {seq - 1}, found another before it"
                problems.append((commit_key(dataset, seq), problem))
        return list(records.values()), problems

    def _given_up(self, dataset: str, seq: int) -> bool:
        """True where a tombstone says that the record was lost already when its number was forgotten."""
        stone = self._stone(dataset, seq)
        return stone is not None and stone.commit == ""

    def _stone(self, dataset: str, seq: int) -> Tombstone | None:
        """The tombstone of a number, where it is signed for its place."""
        try:
            stone = self.tombstone(tombstone_key(dataset, seq))
            require_place(stone, self.vault(), dataset, seq)
        except (IntegrityError, ObjectNotFound):
            return None
        return stone


def state_of(record: ChainRecord) -> Head:
    """What a chain says of itself where a record is its end."""
    kind = record.kind if isinstance(record, ChainNote) else ""
    fence, holds = (
        record.seq if kind == name else pointer for name, pointer in (("fence", record.fence), ("hold", record.holds))
    )
    return Head(record.seq, record.digest, record.committed, fence, holds)


def ranges(numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Numbers as ranges, ascending."""
    spans: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    return tuple(spans)
