"""Which records of a chain a pulled copy takes from the primary: those that are signed and follow what the copy has, up to the first
that is not, or that would forget what the copy keeps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import IntegrityError, NotCounted, ObjectNotFound
from orchestrai.storage.base import Store
from orchestrai.vault.chain.chain_head import ranges
from orchestrai.vault.format.layout import FORGOTTEN, SNAPSHOTS, commit_key, numbered, tombstone_key
from orchestrai.vault.format.records import ChainNote, ChainRecord, SnapshotCommit, open_record, require_place
from orchestrai.vault.replica.record_proof import require_record
from orchestrai.vault.vault import Vault

# what a primary may have become since it was pulled; `copy` is something wrong with the copy itself
Kind = Literal["rolled back", "forked", "lost", "damaged", "forgotten", "copy"]
Sizes = Mapping[str, Mapping[int, int]]


class PullFinding(NamedTuple):
    """One thing that is not as it should be, and that was left as it is; `key` names the object."""

    kind: Kind
    key: str
    problem: str


@dataclass
class ChainPull:
    """What is to be put of one chain: tombstones of what the copy never showed, records, then tombstones of what it showed."""

    dataset: str
    records: dict[int, bytes] = field(default_factory=dict)
    commits: dict[int, SnapshotCommit] = field(default_factory=dict)
    notes: dict[int, ChainNote] = field(default_factory=dict)
    unshown: dict[str, bytes] = field(default_factory=dict)
    shown: dict[str, bytes] = field(default_factory=dict)
    findings: list[PullFinding] = field(default_factory=list)

    @property
    def keyed(self) -> dict[str, bytes]:
        """All of it by key, in the order in which it is put."""
        # a fence that forgets what never was shown comes before that, so that a run which dies in between shows nothing without bytes
        first = [
            seq for seq, note in self.notes.items() if note.kind == "fence" and note.forgotten_numbers & self.commits.keys()
        ]
        chain = {commit_key(self.dataset, seq): self.records[seq] for seq in (*sorted(first), *sorted(self.records))}
        return {**self.unshown, **chain, **self.shown}

    def cut(self, seq: int) -> None:
        """Take nothing from a number on; tombstones stay, as they only take away."""
        for table in (self.records, self.commits, self.notes):
            for number in [number for number in table if number >= seq]:
                del table[number]

    def note(self, kind: Kind, key: str, problem: str) -> None:
        """Add a finding."""
        self.findings.append(PullFinding(kind, key, problem))


@dataclass(frozen=True)
class ChainPuller:
    """Compares the chains of a primary with those of a copy; writes nothing. `keep` is how old a snapshot must be to be forgotten here."""

    primary: Vault
    copy: Vault
    now: datetime
    keep: timedelta
    full: bool = False

    def plan(self, dataset: str, source: Sizes, target: Sizes, stones: Sizes, kept_stones: Sizes) -> ChainPull:
        """What to take of one chain; the mappings are sizes by dataset and number, as both stores list them."""
        pull = ChainPull(dataset)
        theirs, ours = source.get(dataset, {}), target.get(dataset, {})
        if not self._compare(pull, theirs, ours):
            return pull
        new_stones = stones.get(dataset, {}).keys() - kept_stones.get(dataset, {}).keys()
        given_up = kept_stones.get(dataset, {}).keys() | self._tombstones(pull, sorted(new_stones), ours)
        missing = sorted(kept_stones.get(dataset, {}).keys() - stones.get(dataset, {}).keys())
        if missing:
            problem = f"expected the tombstones {_spans(missing)} of {dataset}, which were pulled, found them gone"
            pull.note("lost", tombstone_key(dataset, missing[0]), problem)
        self._records(pull, theirs, ours, given_up)
        self._withhold(pull, ours)
        return pull

    def _compare(self, pull: ChainPull, theirs: Mapping[int, int], ours: Mapping[int, int]) -> bool:
        """Whether the primary still has what was pulled; where it is another chain nothing of it is taken."""
        dataset, end = pull.dataset, max(ours, default=-1)
        if ours and max(theirs, default=-1) < end:
            told = f"{max(theirs)}" if theirs else "none"
            problem = f"expected record {end} of {dataset}, as pulled, found the chain to end with {told}: the primary was rolled back"
            pull.note("rolled back", commit_key(dataset, end), problem)
        gone = sorted(seq for seq in ours.keys() - theirs.keys() if seq < end)
        if gone:
            problem = (
                f"expected the records {_spans(gone)} of {dataset}, which were pulled, found them gone: the copy keeps them"
            )
            pull.note("lost", commit_key(dataset, gone[0]), problem)
        both = sorted(ours.keys() & theirs.keys())
        looked = [seq for seq in both if self.full or seq == end or theirs[seq] != ours[seq]]
        for seq in looked:
            self._same(pull, seq)
        return not any(one.kind in ("rolled back", "forked") or one.key == commit_key(dataset, end) for one in pull.findings)

    def _same(self, pull: ChainPull, seq: int) -> None:
        dataset, key = pull.dataset, commit_key(pull.dataset, seq)
        theirs, ours = _read(self.primary.store, key), _read(self.copy.store, key)
        if theirs == ours:
            return
        if self._opened(dataset, seq, theirs)[1]:
            pull.note(
                "damaged",
                key,
                f"expected record {seq} of {dataset} as it was pulled, found it damaged: the copy has it right",
            )
        elif self._opened(dataset, seq, ours)[1]:
            pull.note(
                "copy", key, f"expected record {seq} of {dataset} as it was pulled, found it damaged in the copy: heal it"
            )
        else:
            problem = (
                f"expected record {seq} of {dataset} as it was pulled, found another that is signed: the primary was forked"
            )
            pull.note("forked", key, problem)

    def _opened(self, dataset: str, seq: int, data: bytes) -> tuple[ChainRecord | None, str]:
        """A record that proves right (None where it does not count, and takes its number), or why it does not."""
        try:
            record = open_record(self.primary.keyring, data)
            require_place(record, self.primary.identity(), dataset, seq)
        except NotCounted:
            return None, ""
        except IntegrityError as exc:
            return None, exc.message
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            return None, f"expected a record, found something else ({exc})"
        return record, ""

    def _records(self, pull: ChainPull, theirs: Mapping[int, int], ours: Mapping[int, int], stones: set[int]) -> None:
        dataset = pull.dataset
        digests: dict[int, str] = {}
        for seq in sorted(theirs.keys() - ours.keys()):
            key = commit_key(dataset, seq)
            data = _read(self.primary.store, key)
            record, problem = self._opened(dataset, seq, data)
            if seq - 1 in ours:
                digests[seq - 1] = sha256_hex(_read(self.copy.store, commit_key(dataset, seq - 1)))
            kind: Kind = "damaged"
            if not problem:
                kind, problem = _misfit(seq, record, digests.get(seq - 1, ""), seq - 1 in stones)
            if problem and seq in stones:
                continue  # it was given up by its number
            if problem:
                pull.note(
                    kind, key, f"expected record {seq} of {dataset} as it was signed; {problem}: nothing behind it is taken"
                )
                return
            digests[seq], pull.records[seq] = sha256_hex(data), data
            if isinstance(record, SnapshotCommit):
                pull.commits[seq] = record
            elif record is not None:
                pull.notes[seq] = record

    def _tombstones(self, pull: ChainPull, numbers: list[int], ours: Mapping[int, int]) -> set[int]:
        """Sort new tombstones into those that are taken and not; returns the numbers of all that are rightly signed."""
        signed: set[int] = set()
        for seq in numbers:
            key = tombstone_key(pull.dataset, seq)
            try:
                # read once: a store may answer the next read with something else
                data = self.primary.store.read(key)
                require_record(key, data, self.primary.identity(), self.primary.keyring)
            except NotCounted:
                continue
            except (IntegrityError, ObjectNotFound, TypeError, ValueError, KeyError) as exc:
                pull.note("damaged", key, f"expected a tombstone as it was signed, found it damaged: {exc}")
                continue
            signed.add(seq)
            if seq not in ours:
                pull.unshown[key] = data
            elif not self._is_kept(pull.dataset, seq):
                pull.shown[key] = data
            else:
                pull.note("forgotten", key, self._why_kept(pull.dataset, seq))
        return signed

    def _withhold(self, pull: ChainPull, ours: Mapping[int, int]) -> None:
        """Nothing from a fence on that forgets what the copy keeps."""
        for seq in sorted(pull.notes):
            forgotten = pull.notes[seq].forgotten_numbers & ours.keys()
            young = sorted(number for number in forgotten if self._is_kept(pull.dataset, number))
            if young:
                problem = f"{self._why_kept(pull.dataset, young[-1])} ({len(young)} of them); nothing behind it is taken"
                pull.note("forgotten", commit_key(pull.dataset, seq), problem)
                pull.cut(seq)
                return

    def _is_kept(self, dataset: str, seq: int) -> bool:
        """Whether the copy shows a snapshot that is too young to be forgotten here."""
        if not self.keep:
            return False
        commit = self.copy.catalog.at(dataset, seq)
        return commit is not None and self.now - commit.committed < self.keep

    def _why_kept(self, dataset: str, seq: int) -> str:
        return (
            f"expected {dataset}@{seq} to be kept for {self.keep.days} days, found that the primary forgot it: the copy keeps it; if "
            "that was meant, --take-tombstones, or a shorter --keep-forgotten"
        )


def _misfit(seq: int, record: ChainRecord | None, previous: str, given_up: bool) -> tuple[Kind, str]:
    """Why a record does not follow the one before it, whose digest is `previous`; empty where it does, or does not count."""
    if record is None or given_up or (previous and record.previous == previous):
        return "damaged", ""
    if previous:
        return "damaged", f"expected it to follow record {seq - 1}, found another before it"
    # chains of before begin with number 1, without a note that opens them
    begins = seq == 0 or (seq == 1 and not record.previous)
    return "lost", "" if begins else f"expected record {seq - 1} before it, found it gone"


def sizes(store: Store, prefix: str) -> dict[str, dict[int, int]]:
    """The sizes of numbered records, by dataset and number, as a store lists them."""
    listed: dict[str, dict[int, int]] = {}
    for info in store.list(prefix):
        place = numbered(prefix, info.key)
        if place is not None and not info.odd:
            listed.setdefault(place[0], {})[place[1]] = info.size
    return listed


def listed_chains(store: Store) -> tuple[Sizes, Sizes]:
    """The records of all chains and the tombstones, as a store lists them; a tombstone that is listed has its record listed too."""
    stones = sizes(store, FORGOTTEN)
    return sizes(store, SNAPSHOTS), stones


def _read(store: Store, key: str) -> bytes:
    try:
        return store.read(key)
    except ObjectNotFound:
        return b""


def _spans(numbers: list[int]) -> str:
    return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in ranges(numbers))
