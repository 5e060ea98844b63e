"""Planted defects: each breaks one step of the protocol, and the simulator must find each."""

from dataclasses import replace
from datetime import datetime

from orchestrai.core.canonical import canonical_json
from orchestrai.errors import MissingObject, ObjectExists, ObjectNotFound
from orchestrai.vault.catalog import Catalog
from orchestrai.vault.commit.known_content import Known
from orchestrai.vault.commit.protocol import Base, WriteSession
from orchestrai.vault.commit.writer import Writer
from orchestrai.vault.format.layout import BYTES, IDENTITY, SESSIONS, commit_key, tombstone_key
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.format.records import IDENTITY_TYPE
from orchestrai.vault.lifecycle.hold_records import recorded_holds
from orchestrai.vault.lifecycle.prune import Pruning
from orchestrai_tests.vault.simulation import SESSION, SOUND, Parts, SimVault

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

    def put_contents(self, sources, partition, known=None):  # type: ignore[no-untyped-def]
        real, store = self.vault.store, _Later(self.vault.store)
        self.late.append(store)
        self._writer = Writer(store, "sim", self.id, None, 0)
        self.vault.store = real
        return super().put_contents(sources, partition, known)

    def create(self, commit):  # type: ignore[no-untyped-def]
        won = super().create(commit)
        for store in self.late if won else ():
            store.flush()
        return won


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

    def create(self, commit):  # type: ignore[no-untyped-def]
        won = super().create(commit)
        for store in [self.later] if won else ():
            store.flush()
        return won


@planted(SOUND)
class ListingAfterCommit(_ListsLate):
    """The list of files is written after the commit."""

    prefix = "vault/listings/"


@planted(SOUND)
class TreeAfterCommit(_ListsLate):
    """The list of partitions is written after the commit."""

    prefix = "vault/trees/"


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
class SharedKeys(WriteSession):
    """Keys do not carry the session: content-named objects are written again over each other."""

    def put_contents(self, sources, partition, known=None):  # type: ignore[no-untyped-def]
        self._writer = Writer(self.vault.store, "sim", "shared", None, 0)
        return super().put_contents(sources, partition, known)


@planted(SOUND)
class DedupAgainstForgotten(WriteSession):
    """Forgotten snapshots are referred to."""

    def read_snapshots(self):  # type: ignore[no-untyped-def]
        return self.vault.catalog.commits(self.request.dataset)


@planted(SOUND)
class HiddenRecordOverlooked(WriteSession):
    """Nobody looks whether a record was hidden where the commit went."""

    def create(self, commit):  # type: ignore[no-untyped-def]
        key, envelope = commit_key(commit.dataset, commit.seq), commit.sign(self.vault.signer)
        try:
            self.vault.store.write(key, envelope, create=True)
        except ObjectExists:
            return self.vault.store.read(key) == envelope
        return True


@planted(SOUND)
class NoReparent(WriteSession):
    """After a lost race only the number is new, the parent is not."""

    def read_base(self):  # type: ignore[no-untyped-def]
        base = super().read_base()
        if not hasattr(self, "first"):
            self.first = base.seen
        return Base(base.head, self.first)


@planted(SOUND)
class HeadAfterSnapshots(WriteSession):
    """The head is read after the snapshots: a commit in between is no parent, and yet not raced."""

    def read_base(self):  # type: ignore[no-untyped-def]
        seen = self.read_snapshots()
        return Base(super().read_base().head, seen)


@planted(SOUND)
class StaleSnapshots(WriteSession):
    """Snapshots seen by an earlier session of the process are believed."""

    def read_snapshots(self):  # type: ignore[no-untyped-def]
        known = self.vault.__dict__.setdefault("stale", {})
        if self.request.dataset not in known:
            known[self.request.dataset] = super().read_snapshots()
        return known[self.request.dataset]


@planted(SOUND)
class TimeByOwnClock(WriteSession):
    """The time of a commit is the writer's, also where the record before it is later."""

    def draft(self, place, head):  # type: ignore[no-untyped-def]
        return replace(super().draft(place, head), time=self.vault.clock().isoformat())


# -- writers that meet a fence -----------------------------------------------------------------------------------


@planted(SOUND)
class FencesIgnored(WriteSession):
    """A fence is a lost race like any other."""

    def require_spared(self, head, entries, place):  # type: ignore[no-untyped-def]
        return None


@planted(SOUND)
class OwnBytesNotLookedUp(WriteSession):
    """Only what others stored is looked up among the condemned."""

    def referred(self, entries, place):  # type: ignore[no-untyped-def]
        return (key for key in super().referred(entries, place) if key.split("/")[2] != self.id)


@planted(SOUND)
class ReusedBytesNotLookedUp(WriteSession):
    """Only what the session stored is looked up among the condemned."""

    def referred(self, entries, place):  # type: ignore[no-untyped-def]
        return (key for key in super().referred(entries, place) if key.split("/")[2] == self.id)


@planted(SOUND)
class OnlyTheNewestFence(WriteSession):
    """Of several fences since the last look the newest alone is met."""

    def fences(self, head):  # type: ignore[no-untyped-def]
        return list(super().fences(head))[:1]


@planted(SOUND)
class MissingListSparesAll(WriteSession):
    """A list of the condemned that is gone condemns nothing."""

    def condemned(self, fence):  # type: ignore[no-untyped-def]
        return super().condemned(fence) or set()


@planted(SOUND)
class FencesSinceTheCommitAlone(WriteSession):
    """Fences that came while contents were stored are taken for old ones."""

    def append(self, base, entries):  # type: ignore[no-untyped-def]
        self.fence = self.read_head().fence
        return super().append(self.read_base(), entries)


@planted(SOUND)
class ChainNotOpened(WriteSession):
    """The first commit of a dataset begins its chain, after its bytes were written."""

    def open_chain(self):  # type: ignore[no-untyped-def]
        return None


# -- readers -----------------------------------------------------------------------------------------------------


@planted(SOUND)
class GapsAreFine(Catalog):
    """A chain in which records are missing is as good as any."""

    def whole(self, dataset):  # type: ignore[no-untyped-def]
        return self.walk(dataset)[0]


# -- prunes ------------------------------------------------------------------------------------------------------


class _LivesOtherwise(Pruning):
    """Which snapshots are live is decided otherwise, by plan and sweep alike."""

    def lives(self, commit):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    def live(self):  # type: ignore[no-untyped-def]
        return [commit for commit in super().live() if self.lives(commit)]

    def not_forgotten(self, fence):  # type: ignore[no-untyped-def]
        return [commit for commit in super().not_forgotten(fence) if self.lives(commit)]


@planted(SOUND)
class LiveByStoreTime(_LivesOtherwise):
    """A snapshot counts while the store's time of its record is within a session of its start."""

    def lives(self, commit):  # type: ignore[no-untyped-def]
        modified = self.store.head(commit_key(commit.dataset, commit.seq)).modified
        return modified - datetime.fromisoformat(commit.started) <= SESSION


@planted(SOUND)
class OnlyNewestIsLive(_LivesOtherwise):
    """Only the newest snapshot is protected."""

    def lives(self, commit):  # type: ignore[no-untyped-def]
        return commit.seq == max(c.seq for c in self.vault.catalog.commits(commit.dataset))


@planted(SOUND)
class NoFence(Pruning):
    """What is still unneeded after the wait is deleted without a word to writers."""

    def fence(self, keys):  # type: ignore[no-untyped-def]
        return []

    def spared(self, keys, fences):  # type: ignore[no-untyped-def]
        needed = self.needed(self.live())
        return [key for key in keys if key not in needed]


@planted(SOUND)
class FencesAfterReading(Pruning):
    """The snapshots are read before the fences are up."""

    def fence(self, keys):  # type: ignore[no-untyped-def]
        self.early = self.needed(self.live())
        return super().fence(keys)

    def spared(self, keys, fences):  # type: ignore[no-untyped-def]
        return [key for key in keys if key not in self.early]


@planted(SOUND)
class ForgottenAfterTheFence(Pruning):
    """What was forgotten after the fence is not needed either."""

    def not_forgotten(self, fence):  # type: ignore[no-untyped-def]
        gone = self.vault.catalog.forgotten(fence.dataset)
        return [commit for commit in super().not_forgotten(fence) if (commit.dataset, commit.seq) not in gone]


class _OtherChains(Pruning):
    """Other chains are fenced than there are."""

    def chosen(self, chains):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    def fence(self, keys):  # type: ignore[no-untyped-def]
        chains = self.vault.catalog.chains
        self.vault.catalog.chains = lambda: self.chosen(chains())
        try:
            return super().fence(keys)
        finally:
            self.vault.catalog.chains = chains

    def spared(self, keys, fences):  # type: ignore[no-untyped-def]
        needed = self.needed(self.live())
        return [key for key in super().spared(keys, fences) if key not in needed]


@planted(SOUND)
class OneChainFenced(_OtherChains):
    """Only the first chain is fenced, though all are read."""

    def chosen(self, chains):  # type: ignore[no-untyped-def]
        return chains[:1]


@planted(SOUND)
class NoRecheck(Pruning):
    """What was marked is deleted without reading the live snapshots at all."""

    def plan(self):  # type: ignore[no-untyped-def]
        plan = super().plan()
        everything = {k: 1 for info in self.open_marks() if self.is_due(info, plan.now) for k in self.read_mark(info)}
        return replace(plan, delete=everything)

    def spared(self, keys, fences):  # type: ignore[no-untyped-def]
        return list(keys)


@planted(SOUND)
class HiddenRecordsUnseen(Pruning):
    """Nobody looks whether something lies over a record."""

    def require_unhidden(self):  # type: ignore[no-untyped-def]
        return None


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
class InnerPagesUnprotected(Pruning):
    """Of trees only the objects that commits name are counted as needed, not those that their pages refer to."""

    def needed(self, live):  # type: ignore[no-untyped-def]
        live = list(live)
        named = {commit.tree for commit in live}
        return {key for key in super().needed(live) if key in named or not key.startswith("vault/trees/")}


@planted(SOUND)
class PagesOverAnotherParent(WriteSession):
    """A tree that was written over one parent is committed over another."""

    def put_tree(self, attempt, change):  # type: ignore[no-untyped-def]
        self.put = getattr(self, "put", None) or super().put_tree(attempt, change)
        return self.put


@planted(SOUND)
class InheritedUnprotected(Pruning):
    """Only what a snapshot's own session wrote is counted as needed."""

    def needed(self, live):  # type: ignore[no-untyped-def]
        live = list(live)
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
class AgeInsteadOfMarks(Pruning):
    """No marks: what is unneeded and half a session old is deleted."""

    def apply(self, plan):  # type: ignore[no-untyped-def]
        present = {info.key: info for prefix in BYTES for info in self.store.list(prefix)}
        for key in plan.mark:
            if key in present and plan.now - present[key].modified > self.vault.max_session / 2:
                self.store.delete(key)
        return super().apply(plan)


# -- the vault ---------------------------------------------------------------------------------------------------


@planted(SOUND)
class ForgetDeletesBytes(SimVault):
    """Forgetting deletes what no other snapshot needs now."""

    def forget_record(self, dataset, seq, *, reason):  # type: ignore[no-untyped-def]
        self.store.write(tombstone_key(dataset, seq), b"gone")
        needed = Pruning(self).needed(c for c in self.catalog.commits() if (c.dataset, c.seq) != (dataset, seq))
        mine = Pruning(self).needed(c for c in self.catalog.commits(dataset) if c.seq == seq)
        for key in sorted(mine - needed):
            self.store.delete(key)


class TombstonesOverHolds(Catalog):
    """A tombstone counts, whatever was held before it."""

    def standing(self, dataset, stones, holds):  # type: ignore[no-untyped-def]
        return stones


@planted(replace(SOUND, catalog=TombstonesOverHolds))
class HoldsByTheirRecordsAlone(SimVault):
    """A hold is what its own record says, and gone with it: the chain protects neither from a tombstone nor from what it does."""

    def holds(self, *, strict=True):  # type: ignore[no-untyped-def]
        return recorded_holds(self.store, self.keyring, self.identity())


@planted(SOUND)
class IdentityMadeAnew(SimVault):
    """Whoever finds no identity makes one."""

    def identity(self):  # type: ignore[no-untyped-def]
        try:
            return super().identity()
        except MissingObject:
            body = {"format": 1, "vault": self.new_id(), "encrypted": False}
            self.store.write(IDENTITY, self.signer.sign(IDENTITY_TYPE, canonical_json(body)))
            return super().identity()
