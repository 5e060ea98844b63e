"""Planted defects: each breaks one step of the protocol, and the simulator must find each."""

import json
from dataclasses import replace
from datetime import datetime, timedelta

from orchestrai.errors import ObjectExists, ObjectNotFound
from orchestrai.ledger.manifest import canonical_json
from orchestrai.vault.catalog import Catalog
from orchestrai.vault.commit.known_content import Known
from orchestrai.vault.commit.protocol import Base, WriteSession
from orchestrai.vault.commit.writer import Writer
from orchestrai.vault.format.layout import BYTES, MARKS, SESSIONS, commit_key, tombstone_key
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.lifecycle.prune import Pruning
from orchestrai_tests.vault.simulation import DATASET, SOUND, Parts, SimVault

MUTANTS: dict[str, Parts] = {}


def planted(parts: Parts):  # type: ignore[no-untyped-def]
    """Put the decorated class (or classes) into the parts under its own name."""

    def add(cls):  # type: ignore[no-untyped-def]
        kinds = {WriteSession: "session", Catalog: "catalog", Pruning: "pruning", SimVault: "vault"}
        kind = next(name for base, name in kinds.items() if issubclass(cls, base))
        MUTANTS[cls.__name__] = replace(parts, **{kind: cls})
        return cls

    return add


# -- writers -----------------------------------------------------------------------------------------------------


@planted(SOUND)
class DedupByPresence(WriteSession):
    """An object that is there is taken for kept."""

    def known_content(self, trees, partition):  # type: ignore[no-untyped-def]
        known = Known()
        for info in self.vault.store.list("vault/objects/"):
            session, name = info.key.split("/")[2:]
            known.add([StoredFile("", "", info.size, 0, name, session, "", -1, 0, info.size)])
        return known


@planted(SOUND)
class DedupAgainstForgotten(WriteSession):
    """Forgotten snapshots are referred to."""

    def read_snapshots(self):  # type: ignore[no-untyped-def]
        return [c for c in self.vault.catalog.commits(DATASET) if self.vault.catalog.counts(c)]


@planted(SOUND)
class DedupAgainstLate(WriteSession):
    """Commits that came too late are referred to."""

    def read_snapshots(self):  # type: ignore[no-untyped-def]
        gone = self.vault.catalog.forgotten(DATASET)
        return [c for c in self.vault.catalog.commits(DATASET) if (c.dataset, c.seq) not in gone]


@planted(SOUND)
class DedupAgainstProvisional(WriteSession):
    """Lists of sessions that have not committed are referred to."""

    def known_content(self, trees, partition):  # type: ignore[no-untyped-def]
        known = super().known_content(trees, partition)
        for info in list(self.vault.store.list("vault/listings/")):
            known.add(self.vault.codec.decode_files(self.vault.store.read(info.key)))
        return known


@planted(SOUND)
class CommitBeforeContents(WriteSession):
    """The commit is made visible before the bytes are written."""

    def run(self):  # type: ignore[no-untyped-def]
        self.late = []
        commit = super().run()
        return commit

    def put_contents(self, sources, partition):  # type: ignore[no-untyped-def]
        real, store = self.vault.store, _Later(self.vault.store)
        self.late.append(store)
        self._writer = Writer(store, "sim", self.id, None, 0)
        self.vault.store = real
        return super().put_contents(sources, partition)

    def acknowledge(self, commit):  # type: ignore[no-untyped-def]
        for store in self.late:
            store.flush()
        super().acknowledge(commit)


class _Later:
    def __init__(self, base, prefix=""):  # type: ignore[no-untyped-def]
        self.base, self.held, self.url, self.prefix = base, [], base.url, prefix

    def __getattr__(self, name):  # type: ignore[no-untyped-def]
        return getattr(self.base, name)

    def write(self, key, data, *, create=False):  # type: ignore[no-untyped-def]
        if not key.startswith(self.prefix):
            return self.base.write(key, data, create=create)
        whole = data if isinstance(data, bytes) else b"".join(data)
        self.held.append((key, whole))

        class Info:
            size, version = len(whole), None

        return Info

    def flush(self):  # type: ignore[no-untyped-def]
        for key, data in self.held:
            self.base.write(key, data)


class _ListsLate(WriteSession):
    prefix = ""

    def run(self):  # type: ignore[no-untyped-def]
        real = self.vault.store
        self.vault.store = self.later = _Later(real, self.prefix)
        try:
            return super().run()
        finally:
            self.vault.store = real

    def acknowledge(self, commit):  # type: ignore[no-untyped-def]
        self.later.flush()
        super().acknowledge(commit)


@planted(SOUND)
class ListingAfterCommit(_ListsLate):
    """The list of files is written after the commit."""

    prefix = "vault/listings/"


@planted(SOUND)
class TreeAfterCommit(_ListsLate):
    """The list of partitions is written after the commit."""

    prefix = "vault/trees/"


@planted(SOUND)
class NoReadBackOfTime(WriteSession):
    """The writer says kept without reading the commit's time."""

    def acknowledge(self, commit):  # type: ignore[no-untyped-def]
        return None


@planted(SOUND)
class StartByOwnClock(WriteSession):
    """The start is taken from the writer's own clock."""

    def begin(self):  # type: ignore[no-untyped-def]
        super().begin()
        self.started = self.vault.clock()


@planted(SOUND)
class StartAfterReading(WriteSession):
    """The start is learnt after the snapshots and their lists were read."""

    def begin(self):  # type: ignore[no-untyped-def]
        return None

    def put_contents(self, sources, partition):  # type: ignore[no-untyped-def]
        super().begin()
        return super().put_contents(sources, partition)


@planted(SOUND)
class StartAtCommit(WriteSession):
    """The start is learnt just before the commit."""

    def draft(self, tree, place, last):  # type: ignore[no-untyped-def]
        self.begin()
        return super().draft(tree, place, last)


@planted(SOUND)
class StartAgainOnLostRace(WriteSession):
    """A writer that lost a race counts its time anew."""

    def create(self, commit):  # type: ignore[no-untyped-def]
        won = super().create(commit)
        if not won:
            self.begin()
        return won


@planted(SOUND)
class CommitOverwrites(WriteSession):
    """The commit is put whether or not the number is taken."""

    def create(self, commit):  # type: ignore[no-untyped-def]
        self.vault.store.write(commit_key(commit.dataset, commit.seq), commit.sign(self.vault.signer))
        return True


@planted(SOUND)
class CommitChecksThenWrites(WriteSession):
    """The number is looked up, then written: two steps."""

    def create(self, commit):  # type: ignore[no-untyped-def]
        key = commit_key(commit.dataset, commit.seq)
        try:
            self.vault.store.head(key)
        except ObjectNotFound:
            self.vault.store.write(key, commit.sign(self.vault.signer))
            return True
        return False


@planted(SOUND)
class LostRaceIsSuccess(WriteSession):
    """A taken number is believed to hold our own commit."""

    def create(self, commit):  # type: ignore[no-untyped-def]
        try:
            self.vault.store.write(commit_key(commit.dataset, commit.seq), commit.sign(self.vault.signer), create=True)
        except ObjectExists:
            pass
        return True


@planted(SOUND)
class LostAnswerIsLoss(WriteSession):
    """A taken number is never read back: a write that won is done twice."""

    def create(self, commit):  # type: ignore[no-untyped-def]
        try:
            self.vault.store.write(commit_key(commit.dataset, commit.seq), commit.sign(self.vault.signer), create=True)
        except ObjectExists:
            return False
        return True


@planted(SOUND)
class NoReparent(WriteSession):
    """After a lost race only the number is new, the parent is not."""

    def read_base(self):  # type: ignore[no-untyped-def]
        base = super().read_base()
        if not hasattr(self, "first"):
            self.first = base.seen
        return Base(base.last, self.first)


@planted(SOUND)
class NumberAfterSnapshots(WriteSession):
    """The last number is read after the snapshots: a commit in between is no parent, and yet not raced."""

    def read_base(self):  # type: ignore[no-untyped-def]
        seen = self.read_snapshots()
        return Base(self.last_commit(), seen)


@planted(SOUND)
class SharedKeys(WriteSession):
    """Keys do not carry the session: content-named objects are written again over each other."""

    def put_contents(self, sources, partition):  # type: ignore[no-untyped-def]
        self._writer = Writer(self.vault.store, "sim", "shared", None, 0)
        return super().put_contents(sources, partition)


@planted(SOUND)
class StaleSnapshots(WriteSession):
    """Snapshots seen by an earlier session of the process are believed."""

    def read_snapshots(self):  # type: ignore[no-untyped-def]
        if not hasattr(self.vault, "stale"):
            self.vault.stale = super().read_snapshots()
        return self.vault.stale


# -- readers -----------------------------------------------------------------------------------------------------


@planted(SOUND)
class NoLimitForReaders(Catalog):
    """Readers count late commits."""

    def counts(self, commit):  # type: ignore[no-untyped-def]
        return True


@planted(SOUND)
class ReadersBelieveTheWriter(Catalog):
    """Readers judge by the time the writer wrote into the commit."""

    def counts(self, commit):  # type: ignore[no-untyped-def]
        return datetime.fromisoformat(commit.created) - datetime.fromisoformat(commit.started) <= self.max_session


@planted(SOUND)
class NoGraceAfterForgetting(Catalog):
    """A forgotten snapshot's bytes are at once nobody's."""

    def live(self, now):  # type: ignore[no-untyped-def]
        gone = self.forgotten()
        return [c for c in self._settled(None, True) if self.counts(c) and (c.dataset, c.seq) not in gone]


@planted(SOUND)
class ShortGraceAfterForgetting(Catalog):
    """A forgotten snapshot's bytes stay for less than a session."""

    def live(self, now):  # type: ignore[no-untyped-def]
        return super().live(now + self.max_session * 3 / 4)


@planted(SOUND)
class GraceByOwnClock(Catalog):
    """The grace is counted by the pruner's own clock."""

    def live(self, now):  # type: ignore[no-untyped-def]
        return super().live(self.client_clock())


@planted(SOUND)
class OnlyNewestIsLive(Catalog):
    """Only the newest snapshot is protected."""

    def live(self, now):  # type: ignore[no-untyped-def]
        return super().live(now)[-1:]


# -- prunes ------------------------------------------------------------------------------------------------------


@planted(SOUND)
class SweepAtOnce(Pruning):
    """A mark is swept by the next prune, without the wait."""

    def is_due(self, mark, now):  # type: ignore[no-untyped-def]
        return True


@planted(SOUND)
class DueByOwnClock(Pruning):
    """The wait is counted by the pruner's own clock."""

    def is_due(self, mark, now):  # type: ignore[no-untyped-def]
        return self.vault.clock() - mark.modified > self.wait


@planted(SOUND)
class WaitFromPruneStart(Pruning):
    """The wait is counted from when the marking prune began (D1 of the study)."""

    def plan(self):  # type: ignore[no-untyped-def]
        self.begun = self.vault.store_time()
        return super().plan()

    def write_mark(self, keys):  # type: ignore[no-untyped-def]
        body = {"keys": sorted(keys), "begun": self.begun.isoformat()}
        self.store.write(f"{MARKS}{self.id}.json", canonical_json(body))

    def is_due(self, mark, now):  # type: ignore[no-untyped-def]
        try:
            return now - datetime.fromisoformat(json.loads(self.store.read(mark.key))["begun"]) > self.wait
        except ObjectNotFound:
            return False


@planted(SOUND)
class NoRecheck(Pruning):
    """What was marked is deleted without reading the live snapshots at all."""

    def plan(self):  # type: ignore[no-untyped-def]
        plan = super().plan()
        everything = {k: 1 for info in self.open_marks() if self.is_due(info, plan.now) for k in self.read_mark(info)}
        return replace(plan, delete=everything)

    def recheck(self, keys):  # type: ignore[no-untyped-def]
        return list(keys)


MUTANTS["WaitShorterThanSession"] = replace(SOUND, wait=timedelta(seconds=8))


class _Forgets(Pruning):
    """A kind of record is left out of what is needed."""

    prefix = ""

    def needed(self, live):  # type: ignore[no-untyped-def]
        return {key for key in super().needed(live) if not key.startswith(self.prefix)}


@planted(SOUND)
class TreesUnprotected(_Forgets):
    """Trees are not counted as needed."""

    prefix = "vault/trees/"


@planted(SOUND)
class ListingsUnprotected(_Forgets):
    """Lists of files are not counted as needed."""

    prefix = "vault/listings/"


@planted(SOUND)
class InheritedUnprotected(Pruning):
    """Only what a snapshot's own session wrote is counted as needed."""

    def needed(self, live):  # type: ignore[no-untyped-def]
        own = {commit.session for commit in live}
        return {key for key in super().needed(live) if key.split("/")[2] in own}


@planted(SOUND)
class DeadSessionsSwept(Pruning):
    """Bytes of sessions without a record are deleted at once."""

    def apply(self, plan):  # type: ignore[no-untyped-def]
        running = {info.key[len(SESSIONS) : -5] for info in self.store.list(SESSIONS)}
        for key in plan.mark:
            if key.split("/")[2] not in running:
                self.store.delete(key)
        return super().apply(plan)


@planted(SOUND)
class ForgetDeletesBytes(SimVault):
    """Forgetting deletes what no other snapshot needs now."""

    def forget_record(self, dataset, seq, *, reason):  # type: ignore[no-untyped-def]
        self.store.write(tombstone_key(dataset, seq), b"gone")
        needed = Pruning(self).needed(self.catalog.visible())
        mine = Pruning(self).needed(c for c in self.catalog.commits() if c.seq == seq)
        for key in sorted(mine - needed):
            self.store.delete(key)


@planted(SOUND)
class AgeInsteadOfMarks(Pruning):
    """No marks: what is unneeded and half a session old is deleted."""

    def apply(self, plan):  # type: ignore[no-untyped-def]
        present = {info.key: info for prefix in BYTES for info in self.store.list(prefix)}
        for key in plan.mark:
            if key in present and plan.now - present[key].modified > self.vault.max_session / 2:
                self.store.delete(key)
        return super().apply(plan)
