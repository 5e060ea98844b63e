"""Pull: a vault copied by a second account that may read the primary and nothing else, and whose key the primary does not know.

The primary is never written to. What the copy shows was proven in the copy: records by the keys that the pinned root says, bytes by the
hashes that signed commits name. What was pulled stays, whatever becomes of the primary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from orchestrai.core.canonical import JsonValue, sha256_hex
from orchestrai.core.progress import Progress
from orchestrai.errors import ConfigError, ObjectNotFound
from orchestrai.ledger.trust.key_log import fingerprint, log_envelopes, read_log
from orchestrai.ledger.trust.key_rules import LoggedRules
from orchestrai.storage.base import Store
from orchestrai.storage.cloud.control import control_plane
from orchestrai.vault.format.layout import IDENTITY, PULLED, SNAPSHOTS, commit_key
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.lifecycle.reachable import reach
from orchestrai.vault.pull.chain_pull import ChainPull, ChainPuller, PullFinding, Sizes, listed_chains
from orchestrai.vault.pull.content_pull import ContentPuller
from orchestrai.vault.pull.loose_records import new_key_log, new_loose, put_records
from orchestrai.vault.pull.pulled_locks import PulledLocks
from orchestrai.vault.pull.views import ForeseenCopy
from orchestrai.vault.replica.copies import Copy
from orchestrai.vault.replica.read_only_store import ReadOnlyStore
from orchestrai.vault.replica.record_proof import PROVEN, require_record
from orchestrai.vault.vault import Vault
from orchestrai.vault.vault_store import identity_record
from orchestrai.vault.verify.proven import Proven, Reached
from orchestrai.vault.verify.verify import LOOKED_UP

KEEP_FORGOTTEN = timedelta(days=30)


@dataclass(frozen=True)
class PullTerms:
    """How a copy is kept: how old a snapshot must be before the primary may have it forgotten here too, and how long what is pulled is
    locked (zero: not at all). With `full` everything that was pulled before is compared and read back again.
    """

    keep: timedelta = KEEP_FORGOTTEN
    lock: timedelta = timedelta()
    full: bool = False


@dataclass
class PullReport:
    """What was pulled, and what was found wrong and left as it is."""

    vault: str
    source: str
    target: str
    snapshots: int = 0
    records: int = 0
    objects: int = 0
    bytes: int = 0
    locked: int = 0
    locked_until: datetime | None = None
    findings: list[PullFinding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True where the primary is what was pulled before and more, and all of it was taken."""
        return not self.findings

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        names = ("vault", "source", "target", "snapshots", "records", "objects", "bytes", "locked", "ok")
        body: dict[str, JsonValue] = {name: getattr(self, name) for name in names}
        body["locked_until"] = self.locked_until.isoformat() if self.locked_until else None
        return body | {"findings": [one._asdict() for one in self.findings]}


class Pull:
    """One run: `primary` is opened over a ReadOnlyStore with a keyring under the rules that the pinned root says."""

    def __init__(self, primary: Vault, target: Store, terms: PullTerms, progress: Progress | None = None) -> None:
        assert isinstance(primary.store, ReadOnlyStore)
        self.primary = primary
        self.control = control_plane(target)
        self.target = Copy(target, self.control, False)
        self.terms = terms
        self.progress = progress
        self.opened = partial(
            Vault, signer=primary.signer, keyring=primary.keyring, encryption=primary.encryption, clock=primary.clock,
            workers=primary.workers, codec=primary.codec,
        )  # fmt: skip
        # reads no more than what a chain asks for, and remembers it for this run
        self.copy = self.opened(target)
        self.contents = ContentPuller(primary, self.target, self.opened, progress)
        self.report = PullReport("", primary.store.url, target.url)
        self.locker: PulledLocks | None = None
        self._remembered: dict[str, Reached] = {}

    def run(self) -> PullReport:
        """Pull what is new. Idempotent; a run that dies anywhere is done again.

        Raises ConfigError for stores that do not fit, IntegrityError where nothing could be told of the primary, StorageError.
        """
        self._require_fit()
        if self._is_gone():
            return self.report
        self.report.vault = self.primary.identity()
        key_log = new_key_log(self.primary, self.target.store)
        source, stones = listed_chains(self.primary.store)
        target, kept_stones = listed_chains(self.target.store)
        if key_log and target and self._withdraws():
            return self.report
        self._put({**key_log, **self._new_identity()})
        records, findings = new_loose(self.primary, self.target.store, full=self.terms.full)
        self._put(records)
        self.report.findings += findings
        self._remembered = self._memory()
        self._lost_in_copy(target)
        if self.locker is not None and not self._remembered:
            # an earlier run may have put them and died, or was not asked to lock
            self.locker.lock(info.key for prefix in PROVEN for info in self.target.store.list(prefix))
        puller = ChainPuller(self.primary, self.copy, self.primary.clock(), self.terms.keep, self.terms.full)
        for dataset in sorted(source.keys() | target.keys()):
            pull = puller.plan(dataset, source, target, stones, kept_stones)
            self._take(pull, target.get(dataset, {}))
            self.report.findings += pull.findings
        self.target.store.sync()
        self._remember()
        self.report.objects, self.report.bytes = self.contents.objects, self.contents.bytes
        self.report.locked = self.locker.changed if self.locker is not None else 0
        return self.report

    # -- before anything is put --------------------------------------------------------------------------------

    def _require_fit(self) -> None:
        store = self.target.store
        if store.url.rstrip("/") == self.primary.store.url.rstrip("/"):
            raise ConfigError(f"expected a store of its own for the copy, found {store.url} for both: give another --to")
        if self.terms.lock and (self.control is None or self.control.capabilities().lock == "none"):
            raise ConfigError(f"expected a store that can lock objects for --lock, found {store.url}: switch on its lock")
        if self.terms.lock and self.control is not None:
            self.report.locked_until = self.primary.clock() + self.terms.lock
            self.locker = PulledLocks(self.control, self.report.locked_until)

    def _is_gone(self) -> bool:
        """True where there is no vault any more that was pulled before; raises ConfigError where there never was one, or is another."""
        theirs, ours = identity_record(self.primary.store), _identity(self.target.store)
        if theirs is None and ours is None:
            raise ConfigError(f"expected a vault in {self.primary.store.url}, found none: give --from the vault's URL")
        if theirs is None:
            problem = f"expected the vault that was pulled, found nothing in {self.primary.store.url}: the copy keeps it"
            self.report.findings.append(PullFinding("lost", IDENTITY, problem))
            return True
        if ours is None and next(iter(self.target.store.list(SNAPSHOTS)), None) is not None:
            raise ConfigError(
                f"expected a copy of this vault or an empty store, found chains alone in {self.target.store.url}"
            )
        self.primary.identity()
        if ours not in (None, theirs):
            raise ConfigError(
                f"expected a copy of the vault in {self.primary.store.url} or an empty store, found another in {self.target.store.url}: "
                "give each vault a --to of its own; if the primary was replaced, the copy is what is left of it"
            )
        return False

    def _new_identity(self) -> dict[str, bytes]:
        if _identity(self.target.store):
            return {}
        data = self.primary.store.read(IDENTITY)
        require_record(IDENTITY, data, self.primary.identity(), self.primary.keyring)
        return {IDENTITY: data}

    def _withdraws(self) -> bool:
        """True, with findings, where new records of the key log take away snapshots that the copy shows and keeps."""
        rules = self.primary.keyring.rules
        assert isinstance(rules, LoggedRules)
        logged = LoggedRules(self.target.store, rules.base, root=_root_there(rules, self.target.store))
        before = self.opened(self.target.store, keyring=replace(self.primary.keyring, rules=logged)).catalog.visible(
            strict=False
        )
        after = {commit.digest for commit in self.opened(self.target.store).catalog.visible(strict=False)}
        now = self.primary.clock()
        for commit in before:
            if commit.digest not in after and now - commit.committed < self.terms.keep:
                problem = (
                    f"expected {commit.dataset}@{commit.seq} to count on, found that the primary's key log withdraws it: nothing was "
                    "pulled; if that was meant, --take-tombstones"
                )
                self.report.findings.append(PullFinding("forgotten", commit_key(commit.dataset, commit.seq), problem))
        return bool(self.report.findings)

    # -- one chain ----------------------------------------------------------------------------------------------

    def _take(self, pull: ChainPull, ours: Mapping[int, int]) -> None:
        reached = None if self.terms.full else self._remembered.get(pull.dataset)
        end = max(ours, default=-1)
        if not pull.keyed and reached is not None and reached.seq == end:
            return
        base = None
        if reached is not None:
            base = Proven(self.primary.identity(), self.target.store.url, self.primary.clock(), {pull.dataset: reached})
        view = self.opened(ForeseenCopy(self.target.store, pull.keyed))
        last = view.catalog.at(pull.dataset, reached.commit) if reached is not None and reached.commit else None
        commits = _shown(view, pull, ours, reached.commit if reached is not None else 0)
        before = next((commit for commit in reversed(commits) if commit.seq in ours), last)
        self.contents.fetch(pull, [commit for commit in commits if commit.seq in pull.commits], before)
        proven = self.contents.prove(pull, [one for one in commits if one.seq in ours or one.seq in pull.commits], base)
        commits = [one for one in commits if one.seq in ours or one.seq in pull.commits]
        behind = {commit_key(pull.dataset, seq) for seq in ours if reached is None or seq > reached.seq}
        if self.locker is not None:
            self.locker.lock(behind | _needed(view, commits, last))
        self._put(pull.keyed)
        self.report.snapshots += sum(commit.seq in pull.commits for commit in commits)
        seq = max([end, *pull.records])
        if proven and seq >= 0:
            digest = sha256_hex(self.target.store.read(commit_key(pull.dataset, seq)))
            newest = max([commit.seq for commit in commits], default=reached.commit if reached else 0)
            self._remembered[pull.dataset] = Reached(seq, digest, newest)

    def _put(self, records: Mapping[str, bytes]) -> None:
        self.report.records += put_records(self.target.store, records)
        if self.locker is not None:
            self.locker.lock(records)

    # -- what was proven before --------------------------------------------------------------------------------

    def _memory(self) -> dict[str, Reached]:
        """How far earlier runs proved each chain, as this home's own key signed it; whatever else lies there only costs time."""
        try:
            proven = Proven.opened(self.primary.signer.keyring(), self.target.store.read(PULLED))
        except ObjectNotFound:
            return {}
        proven = proven.of(self.primary.identity(), self.target.store.url) if proven else None
        return dict(proven.chains) if proven else {}

    def _lost_in_copy(self, target: Sizes) -> None:
        """What was proven in the copy and is no longer there: somebody else writes to it."""
        for dataset, reached in sorted(self._remembered.items()):
            key = commit_key(dataset, reached.seq)
            there = reached.seq in target.get(dataset, {}) and sha256_hex(self.target.store.read(key)) == reached.digest
            if not there:
                del self._remembered[dataset]
                problem = f"expected record {reached.seq} of {dataset} in the copy as it was proven there, found it gone or altered"
                self.report.findings.append(PullFinding("copy", key, problem))

    def _remember(self) -> None:
        proven = Proven(self.primary.identity(), self.target.store.url, self.primary.clock(), self._remembered)
        before = self._memory()
        if before != self._remembered:
            self.target.store.write(PULLED, proven.sealed(self.primary.signer))


def _identity(store: Store) -> bytes | None:
    try:
        return store.read(IDENTITY)
    except ObjectNotFound:
        return None


def _shown(view: Vault, pull: ChainPull, ours: Mapping[int, int], looked: int) -> list[SnapshotCommit]:
    """The snapshots behind number `looked` that the copy shows once the planned records are put, by number."""
    beyond = any(seq > looked for seq in ours)
    if beyond or len(pull.commits) > LOOKED_UP:
        return [commit for commit in view.catalog.visible(pull.dataset, strict=False) if commit.seq > looked]
    there = (view.catalog.at(pull.dataset, seq) for seq in sorted(pull.commits))
    return [commit for commit in there if commit is not None]


def _needed(view: Vault, commits: Sequence[SnapshotCommit], before: SnapshotCommit | None) -> set[str]:
    """What snapshots need: all of the newest, so that what it shares with older ones is locked as long as it; of others what is new."""
    keys: set[str] = set()
    for commit in commits:
        keys |= reach(view, commit, None if commit is commits[-1] else before).keys()
        before = commit
    return keys - {commit_key(commit.dataset, commit.seq) for commit in commits}


def _root_there(rules: LoggedRules, target: Store) -> str:
    """By which root the copy's own log is judged: by the one that was named, or, where that came later, by the one it is under yet."""
    theirs, ours = rules.log(), read_log(log_envelopes(target))
    if ours is None:
        return ""
    lags = theirs is not None and ours.digests == theirs.digests[: ours.seq]
    return fingerprint(ours.root) if rules.root and lags else rules.root
