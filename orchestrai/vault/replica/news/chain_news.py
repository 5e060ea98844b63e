"""What came to the chains behind a replica's progress, and the bytes that it needs."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from orchestrai.core.canonical import sha256_hex
from orchestrai.errors import IntegrityError, NotCounted, ObjectNotFound
from orchestrai.vault.chain.chain_head import Head, state_of
from orchestrai.vault.chain.numbered_logs import behind
from orchestrai.vault.format.layout import FORGOTTEN, SNAPSHOTS, commit_key, numbered
from orchestrai.vault.format.records import ChainRecord, SnapshotCommit, open_record
from orchestrai.vault.lifecycle.reachable import reach
from orchestrai.vault.replica.news.copy_plan import Lacking
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.proven import Reached
from orchestrai.vault.verify.verification import Finding


@dataclass
class ChainNews:
    """The records behind what was reached: the places of all in order, those that count, and the end of each chain that has one."""

    vault: Vault
    reached: Mapping[str, Reached]
    places: list[tuple[str, int]] = field(default_factory=list)
    records: list[ChainRecord] = field(default_factory=list)
    last: dict[str, int] = field(default_factory=dict)
    heads: dict[str, Head] = field(default_factory=dict)
    waits: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read the new records; raises IntegrityError for a damaged one, unless it was forgotten by its number."""
        catalog = self.vault.catalog
        self.last = {name: one.seq for name, one in self.reached.items()}
        for name, seq, info in behind(self.vault.store, SNAPSHOTS, dict(self.last)):
            self.last[name] = seq
            try:
                record = catalog.record(info)
            except NotCounted:
                # it takes its number, and the record behind it names its hash
                self.places.append((name, seq))
                continue
            except IntegrityError:
                if (name, seq) not in catalog.tombstones(name, strict=False):
                    raise
                continue
            self.places.append((name, seq))
            self.records.append(record)
            self.heads[name] = state_of(record)

    def rolled_back(self) -> Iterator[Finding]:
        """Chains whose last record that was copied is not the vault's any more."""
        for name, reached in sorted(self.reached.items()):
            key = commit_key(name, reached.seq)
            try:
                same = sha256_hex(self.vault.store.read(key)) == reached.digest
            except ObjectNotFound:
                same = False
            if not same:
                problem = (
                    f"expected record {reached.seq} of {name} in {self.vault.store.url} as it was copied, found it gone or another: "
                    "the vault was rolled back, or damaged; see `orchestrai vault heal`"
                )
                yield Finding(key, problem)

    def commits(self) -> list[SnapshotCommit]:
        """The new snapshots that count, by dataset and number."""
        gone = {
            name: self.vault.catalog.forgotten_by(name, head, self._since(name)) for name, head in sorted(self.heads.items())
        }
        commits = [one for one in self.records if isinstance(one, SnapshotCommit) and one.seq not in gone[one.dataset]]
        return sorted(commits, key=lambda commit: (commit.dataset, commit.seq))

    def needs(self, commits: list[SnapshotCommit], replica: Vault, own: Collection[str]) -> dict[str, str]:
        """Key to version of the bytes that these need and the replica may lack.

        `own` are the chains that had records in the replica behind what was reached. Where the lists of a snapshot cannot be read a chain
        waits before it, and that is told: the replica shows nothing that it cannot restore.
        """
        versions: dict[str, str] = {}
        before: dict[str, SnapshotCommit | None] = {}
        for commit in commits:
            name = commit.dataset
            if name in self.waits:
                continue
            try:
                beyond = before[name] if name in before else self._shown(replica, name, name in own)
                versions |= reach(self.vault, commit, beyond)
            except IntegrityError as exc:
                self.waits[name] = commit.seq
                self.findings.append(Finding(str(exc.fields.get("key") or commit.tree), exc.message))
            before[name] = commit
        return {key: version for key, version in versions.items() if not key.startswith(SNAPSHOTS)}

    def keys(self) -> list[str]:
        """The keys of the records to copy, in order, once what they need was looked at."""
        return [commit_key(name, seq) for name, seq in self.places if name not in self.waits or seq < self.waits[name]]

    def stones(self) -> Iterator[Lacking]:
        """The tombstones that the replica may lack, those of lost numbers too."""
        for name, last in sorted(self.last.items()):
            known = self.reached[name].gone_numbers if name in self.reached else set()
            for info in self.vault.catalog.other_stones(name, last, known):
                if numbered(FORGOTTEN, info.key) is not None:
                    yield Lacking(info.key, size=info.size, compared=True)

    def _since(self, name: str) -> int:
        return self.reached[name].seq if name in self.reached else -1

    def _shown(self, replica: Vault, name: str, longer: bool) -> SnapshotCommit | None:
        """The newest snapshot before these that still counts in both: all that it names is in the replica."""
        reached = self.reached.get(name)
        if reached is None:
            return None
        try:
            # what was reached is the end of the replica's chain, unless that is `longer`
            end = (
                None if longer else state_of(open_record(replica.keyring, replica.store.read(commit_key(name, reached.seq))))
            )
            there = replica.catalog.shown_before(name, reached.commit, end)
            here = self.vault.catalog.shown_before(name, there.seq, self.heads.get(name)) if there is not None else None
        except (IntegrityError, ObjectNotFound):
            return None
        return here if here is not None and there is not None and here.digest == there.digest else None
