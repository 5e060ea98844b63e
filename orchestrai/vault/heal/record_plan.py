"""Which records of which copy are mended, and from where.

A record goes to a copy that lacks it only where it follows what that copy has before it, and what comes behind follows it. What only a
replica has behind the end of the primary is offered and never brought by itself: a primary that was rolled back cannot be told from a
replica that somebody wrote to.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import IntegrityError
from orchestrai.ledger.signing import signatures_alone
from orchestrai.ledger.trust.key_log import CENSUS, KEY_LOG
from orchestrai.vault.chain.chain_reader import ChainReader
from orchestrai.vault.format.layout import DATA_KEYS, FORGOTTEN, HOLDS, IDENTITY, SNAPSHOTS, commit_key, numbered
from orchestrai.vault.format.records import ChainNote, ChainRecord, SnapshotCommit, open_record
from orchestrai.vault.heal.mends import Action, Mend, Newer, Unmended
from orchestrai.vault.heal.record_survey import Survey
from orchestrai.vault.lifecycle.anchor import Anchored
from orchestrai.vault.lifecycle.hold_records import Hold, chained_holds
from orchestrai.vault.replica.copies import MendedView
from orchestrai.vault.replica.own_fences import is_fence
from orchestrai.vault.replica.record_proof import HEADS, VAULT_RECORDS

Chain = dict[int, ChainRecord]


@dataclass
class RecordPlan:
    """What becomes of the records; `after` are those of each copy once all this is done."""

    mends: list[Mend] = field(default_factory=list)
    newer: list[Newer] = field(default_factory=list)
    unmended: list[Unmended] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    after: list[dict[str, bytes]] = field(default_factory=list)


class RecordPlanner:
    """Plans the records of all copies, one after another."""

    def __init__(self, survey: Survey, remembered: Mapping[str, Anchored]) -> None:
        self.survey = survey
        self.keyring = survey.keyring
        self._signed = signatures_alone(survey.keyring)
        self.remembered = remembered
        self.plan = RecordPlan()
        self._opened: dict[str, ChainRecord] = {}
        self._yield: dict[int, dict[str, str]] = {}
        self._newest: dict[int, dict[str, int]] = {}

    def run(self, *, bring_back: bool) -> RecordPlan:
        """The plan; with `bring_back` what only a replica has behind the end of the primary is brought to it too."""
        self._losses()
        for place in range(len(self.survey.copies)):
            self._plan_copy(place, bring_back)
        return self.plan

    # -- one copy --------------------------------------------------------------------------------------------

    def _plan_copy(self, place: int, bring_back: bool) -> None:
        copy = self.survey.copies[place]
        own = {key: readings[place] for key, readings in self.survey.records.items()}
        yielding = {} if copy.primary else self._yielding(place)
        wanted: dict[str, Mend] = {}
        for key, reading in own.items():
            if reading.proves and key not in yielding:
                if reading.state == "hidden":
                    wanted[key] = Mend(copy, key, reading.problem, copy.store, "write", reading.version, reading.digest)
                continue
            number = self._source(key, place)
            if number is not None:
                source = self.survey.records[key][number]
                action: Action = "create" if reading.state == "missing" or key in yielding else "write"
                problem = yielding.get(key, reading.problem)
                # another copy may keep it under what lies over it there
                from_store = self.survey.copies[number].store
                behind = reading.state == "missing" and self._is_behind(place, key)
                wanted[key] = Mend(copy, key, problem, from_store, action, source.version, source.digest, behind)
        for key, problem in yielding.items():
            self.plan.mends.append(Mend(copy, key, problem, copy.store, "set aside", digest=own[key].digest))
        for mend in self._withheld(place, wanted, bring_back) if copy.primary else ():
            del wanted[mend.key]
        # what counts for nothing takes its number
        stays = {key: one.data for key, one in own.items() if (one.proves or one.state == "void") and key not in yielding}
        before = {key: data for key, data in stays.items() if key not in wanted or own[key].proves}
        wanted = self._following(place, before, wanted)
        self.plan.mends += wanted.values()
        after = before | {key: self._data(key, mend) for key, mend in wanted.items()}
        self.plan.after.append({key: data for key, data in after.items() if key.startswith(VAULT_RECORDS)})

    def _source(self, key: str, place: int) -> int | None:
        """The copy that a record is taken from; None where none has it, or two have different ones."""
        readings = self.survey.records[key]
        sound = [number for number, reading in enumerate(readings) if number != place and reading.proves]
        if len({readings[number].digest for number in sound}) != 1:
            return None
        return sound[0]

    def _data(self, key: str, mend: Mend) -> bytes:
        return next(reading.data for reading in self.survey.records[key] if reading.proves and reading.digest == mend.digest)

    def _following(self, place: int, before: Mapping[str, bytes], wanted: dict[str, Mend]) -> dict[str, Mend]:
        """Without the records of chains that do not follow what the copy has; each such chain is told of once."""
        copy = self.survey.copies[place]
        told: set[str] = set()
        forgotten = self._forgotten()
        while True:
            chains = self._chains({key: self._data(key, mend) for key, mend in wanted.items()} | dict(before))
            misfits = {
                commit_key(dataset, misfit)
                for dataset, chain in chains.items()
                for seq, record in chain.items()
                if seq - 1 in chain and record.previous != chain[seq - 1].digest and (dataset, seq - 1) not in forgotten
                for misfit in (seq - 1, seq)
                if commit_key(dataset, misfit) in wanted
            }
            if not misfits:
                return wanted
            for key in sorted(misfits):
                dataset, seq = numbered(SNAPSHOTS, key) or ("", 0)
                if dataset not in told:
                    told.add(dataset)
                    problem = f"expected record {seq} of {dataset} to follow what is there, found another chain in {wanted[key].source.url}"
                    self.plan.unmended.append(Unmended(copy.name, key, problem))
            wanted = {key: mend for key, mend in wanted.items() if key not in misfits}

    def _forgotten(self) -> set[tuple[str, int]]:
        """The numbers that have a tombstone: what came behind a damaged one need not follow what is back."""
        places = (
            numbered(FORGOTTEN, key)
            for key, readings in self.survey.records.items()
            if key.startswith(FORGOTTEN) and any(one.proves for one in readings)
        )
        return {place for place in places if place is not None}

    def _yielding(self, place: int) -> dict[str, str]:
        """Fences of a replica's own prunes from where the primary has other records on: they say nothing of data, and give way."""
        if place in self._yield:
            return self._yield[place]
        yielding = self._yield[place] = {}
        datasets = {
            where[0] for key in self.survey.records if (where := numbered(SNAPSHOTS, key)) and key.startswith(SNAPSHOTS)
        }
        for dataset in sorted(datasets):
            first, own = self._chain(0, dataset), self._chain(place, dataset)
            differing = [seq for seq in first.keys() & own.keys() if first[seq].digest != own[seq].digest]
            # a record that was copied behind such a fence is the primary's, and stays
            apart = {seq for seq in own if seq not in first or first[seq].digest != own[seq].digest}
            tail = {seq: own[seq] for seq in apart if differing and seq >= min(differing)}
            if tail and all(map(is_fence, tail.values())):
                why = "expected the record of the primary, found the fence of a prune of this copy: it gives way"
                yielding.update({commit_key(dataset, seq): why for seq in tail})
        return yielding

    def _is_behind(self, place: int, key: str) -> bool:
        """True for what a replica was not given yet: the end of a log, and what the ledger wrote since."""
        log, number = _log_of(key)
        return place > 0 and (not log or number >= self._ends(place).get(log, -1))

    def _ends(self, place: int) -> dict[str, int]:
        """The newest number of each log that a copy has anything under."""
        if place not in self._newest:
            ends = self._newest[place] = {}
            for key, readings in self.survey.records.items():
                if readings[place].state != "missing":
                    log, number = _log_of(key)
                    ends[log] = max(number, ends.get(log, -1))
        return self._newest[place]

    # -- what only a replica has behind the end of the primary --------------------------------------------------

    def _withheld(self, place: int, wanted: Mapping[str, Mend], bring_back: bool) -> list[Mend]:
        """What of all that is wanted does not go to the primary by itself; it is told of, unless a replica's own prune wrote it."""
        ends = self._ends(place)
        logs: dict[tuple[str, str], list[Mend]] = {}
        for key, mend in wanted.items():
            log, number = _log_of(key)
            at_end = log and number >= ends.get(log, -1) and mend.source is not mend.copy.store
            if at_end and (mend.action == "create" or self._is_fence(mend)) and not self._is_known(key):
                logs.setdefault((log, mend.source.url), []).append(mend)
        withheld: list[Mend] = []
        for (log, url), mends in sorted(logs.items()):
            anchored = any(self._is_anchored(mend) for mend in mends)
            pruned_alone = not anchored and all(mend.action == "create" and self._is_fence(mend) for mend in mends)
            if pruned_alone or not bring_back:
                withheld += mends
            if not pruned_alone:
                numbers = sorted(_log_of(mend.key)[1] for mend in mends)
                copy = next(copy for copy in self.survey.copies if copy.store.url == url)
                self.plan.newer.append(Newer(log, copy, numbers[0], numbers[-1], anchored, tuple(mends)))
        return withheld

    def _is_fence(self, mend: Mend) -> bool:
        """A damaged record at the end may have been anything: the fence of a replica's prune is not taken for it."""
        record = self._record(self._data(mend.key, mend)) if mend.key.startswith(SNAPSHOTS) else None
        return record is not None and is_fence(record)

    def _is_known(self, key: str) -> bool:
        """True where what the primary has, or the anchor, says that it had this tombstone, hold or data key."""
        place = numbered(FORGOTTEN, key) if key.startswith(FORGOTTEN) else None
        if place is not None:
            dataset, seq = place
            remembered = self.remembered.get(dataset)
            notes = [record for record in self._chain(0, dataset).values() if isinstance(record, ChainNote)]
            return any(seq in note.forgotten_numbers for note in notes) or bool(remembered and seq in remembered.forgotten)
        if key.startswith((KEY_LOG, CENSUS)):
            return True  # the root signed it: nobody who writes to a replica can
        if key.startswith(HOLDS):
            return key in {hold.key for hold in self._chained_holds()}
        if key.startswith(DATA_KEYS) or key == IDENTITY:
            return any(self._names(record, key) for record in self._primary_commits())
        return False

    def _chained_holds(self) -> list[Hold]:
        records = {key: readings[0].data for key, readings in self.survey.records.items() if readings[0].proves}
        chains = ChainReader(MendedView(self.survey.copies[0].store, records), self.keyring, lambda: self.survey.vault)
        try:
            return list(chained_holds(chains, strict=False).values())
        except IntegrityError:
            return []  # a note that is missing: what it held is told of as newer

    def _primary_commits(self) -> Iterator[SnapshotCommit]:
        for key, readings in self.survey.records.items():
            if key.startswith(SNAPSHOTS) and readings[0].proves:
                record = self._record(readings[0].data)
                if isinstance(record, SnapshotCommit):
                    yield record

    def _names(self, commit: SnapshotCommit, key: str) -> bool:
        # commits of format 1 and 2 name neither: what they were read with was there
        return key == IDENTITY or not commit.identity or key.removeprefix(DATA_KEYS) in commit.keys

    def _is_anchored(self, mend: Mend) -> bool:
        place = numbered(SNAPSHOTS, mend.key) if mend.key.startswith(SNAPSHOTS) else None
        remembered = self.remembered.get(place[0]) if place else None
        return (
            remembered is not None and place is not None and (remembered.seq, remembered.digest) == (place[1], mend.digest)
        )

    # -- what no copy has ------------------------------------------------------------------------------------

    def _losses(self) -> None:
        for key, readings in self.survey.records.items():
            owners = {reading.digest: number for number, reading in enumerate(readings) if reading.proves}
            odd = key.startswith((SNAPSHOTS, FORGOTTEN)) and numbered(key[: key.index("/", 6) + 1], key) is None
            if not owners and any(reading.state == "void" for reading in readings):
                continue  # it counts for nothing in each of them, and verify names it
            if not owners and (odd or not key.startswith(SNAPSHOTS)):
                self.plan.lost[key] = next((one.problem for one in readings if one.problem), "")
            elif key.startswith(FORGOTTEN):
                continue  # forgotten in each of them, if for reasons of its own
            elif len(owners) > 1 and not any(number and key in self._yielding(number) for number in owners.values()):
                where = " and ".join(self.survey.copies[number].name for number in sorted(owners.values()))
                problem = (
                    f"expected one record under this key, found two that are signed, in {where}: one of them was written to by itself; "
                    "look at both, and keep the store that counts"
                )
                self.plan.unmended.append(Unmended(where, key, problem))

    # -- chains ----------------------------------------------------------------------------------------------

    def _chain(self, place: int, dataset: str) -> Chain:
        prefix = f"{SNAPSHOTS}{dataset}/"
        return {
            where[1]: self._record(readings[place].data)
            for key, readings in self.survey.records.items()
            if key.startswith(prefix)
            and readings[place].proves
            and (where := numbered(SNAPSHOTS, key))
            and where[0] == dataset
        }

    def _chains(self, records: Mapping[str, bytes]) -> dict[str, Chain]:
        chains: dict[str, Chain] = {}
        for key, data in records.items():
            where = numbered(SNAPSHOTS, key) if key.startswith(SNAPSHOTS) else None
            if where is not None:
                chains.setdefault(where[0], {})[where[1]] = self._record(data)
        return chains

    def _record(self, data: bytes) -> ChainRecord:
        digest = sha256_hex(data)
        if digest not in self._opened:
            # whether it counts was judged before
            self._opened[digest] = open_record(self._signed, data)
        return self._opened[digest]


def _log_of(key: str) -> tuple[str, int]:
    """The log that a record stands in, and its number; an empty log for what has no order, which is never too new."""
    if key == IDENTITY:
        return IDENTITY, 0
    if key.startswith((SNAPSHOTS, FORGOTTEN, HOLDS, DATA_KEYS, HEADS, KEY_LOG)):
        log, _, name = key.rpartition("/")
        number = name.removesuffix(".json")
        if key.startswith(FORGOTTEN):
            # each stands alone: any of them may be newer
            return key, 0
        return log, int(number) if number.isdigit() else 0
    return "", 0
