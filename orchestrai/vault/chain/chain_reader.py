"""What the records of a chain say together: which snapshots were forgotten, what is held, and whether the chain is whole."""

from collections.abc import Mapping
from typing import Any

from orchestrai.errors import IntegrityError, NotCounted, ObjectNotFound
from orchestrai.ledger.signing import rules_of
from orchestrai.vault.chain.chain_head import WHOLE_DATASET, Head
from orchestrai.vault.chain.record_reader import RecordReader
from orchestrai.vault.format.layout import FORGOTTEN, SNAPSHOTS, commit_key, numbered
from orchestrai.vault.format.records import HOLD_TYPE, ChainRecord, document


class ChainReader(RecordReader):
    """Reads what chains say, each record verified."""

    # -- what was forgotten ----------------------------------------------------------------------------------

    def forgotten(
        self, dataset: str | None = None, *, strict: bool = True, heads: Mapping[str, Head] | None = None
    ) -> set[tuple[str, int]]:
        """The snapshots that a tombstone or the newest fence of their chain calls forgotten.

        `heads` are the ends of the chains, where they are known.

        A tombstone that is not signed for its place raises, or hides nothing where `strict` is off; so does a damaged end of a chain.
        """
        if heads is not None:
            # what a fence calls forgotten is so without its tombstone: only those that came since are read
            return {(name, seq) for name, head in heads.items() for seq in self.forgotten_by(name, head)}
        places = self.tombstones(dataset, strict=strict)
        names = [dataset] if dataset is not None else self.chains()
        for name in names:
            own = {seq for of, seq in places if of == name}
            try:
                head = self.head(name)
                standing = self.standing(name, own, head.holds) | self.fenced(name, head.fence)
            except IntegrityError:
                if strict:
                    raise
                continue
            places = {place for place in places if place[0] != name} | {(name, seq) for seq in standing}
        return places

    def forgotten_by(self, dataset: str, head: Head, since: int = -1) -> set[int]:
        """The numbers of a chain behind `since` that a tombstone or the newest fence calls forgotten, given its end.

        Raises IntegrityError for a tombstone that is not signed for its place, where no fence calls the number forgotten.
        """
        fenced = self.fenced(dataset, head.fence)
        stones: set[int] = set()
        for info in self.other_stones(dataset, head.seq, {*fenced, *range(since + 1)}):
            place = numbered(FORGOTTEN, info.key)
            if place is not None and self.is_tombstone(info):
                stones.add(place[1])
        return {seq for seq in self.standing(dataset, stones, head.holds) | fenced if seq > since}

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
            note, envelope = self.note_envelope(dataset, holds)
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

        Problems are told with the key of the record. A record that was forgotten as lost is no problem, nor one that does not count and was
        forgotten by its number. Of what comes before number
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
                if isinstance(exc, NotCounted) and self.stone(dataset, seq) is not None:
                    continue  # somebody looked at it, and gave up its number
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
            if not follows and self.stone(dataset, seq - 1) is None:
                problem = f"expected record {seq} of {dataset} to follow {seq - 1}, found another before it"
                problems.append((commit_key(dataset, seq), problem))
        return list(records.values()), problems

    def _given_up(self, dataset: str, seq: int) -> bool:
        """True where a tombstone says that the record was lost already when its number was forgotten."""
        stone = self.stone(dataset, seq)
        return stone is not None and stone.commit == ""
