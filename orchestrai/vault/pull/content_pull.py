"""The bytes of new snapshots: copied once, read back from the copy by the hashes that the commits name, before a record shows them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from orchestrai.core.progress import Progress
from orchestrai.errors import IntegrityError, ObjectExists, ObjectNotFound
from orchestrai.storage.base import Store, exists
from orchestrai.vault.format.layout import BYTES, DATA_KEYS, IDENTITY
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.heal.content_plan import ContentReader
from orchestrai.vault.lifecycle.reachable import reach
from orchestrai.vault.pull.chain_pull import ChainPull
from orchestrai.vault.pull.views import ForeseenCopy
from orchestrai.vault.replica.copies import Copy, MendedView
from orchestrai.vault.replica.object_copy import CREATED
from orchestrai.vault.replica.stored_digest import checked, digest_of
from orchestrai.vault.replica.wrong_bytes import set_aside
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.proven import Proven
from orchestrai.vault.verify.verify import LOOKED_UP, VerifyReport, verify


class _Chosen(ContentReader):
    """Reads what one snapshot needs, whichever else there are."""

    chosen: Sequence[SnapshotCommit] = ()

    def commits(self) -> list[SnapshotCommit]:
        """The one."""
        return list(self.chosen)


@dataclass
class ContentPuller:
    """Copies and proves the bytes of one run; `objects` and `bytes` are what was copied."""

    primary: Vault
    target: Copy
    opened: "partial[Vault]"
    progress: Progress | None = None
    objects: int = 0
    bytes: int = 0
    _there: set[str] | None = field(default=None, repr=False)

    def fetch(self, pull: ChainPull, commits: Sequence[SnapshotCommit], before: SnapshotCommit | None) -> None:
        """Copy what the new snapshots of a chain need and the copy lacks; a snapshot whose lists are not right cuts the chain."""
        for commit in commits:
            try:
                needed = self._needed(pull, commit, before)
            except (IntegrityError, ObjectNotFound) as exc:
                key = str(exc.fields.get("key") or commit.tree)
                pull.note(
                    "damaged", key, f"{exc.message}; {commit.dataset}@{commit.seq} and what came after it is not taken"
                )
                pull.cut(commit.seq)
                return
            keys = [(key, version) for key, version in sorted(needed.items()) if key.startswith(BYTES)]
            lacking = self._lacking(keys)
            for number, (key, version) in enumerate(lacking, 1):
                self._copy(key, version)
                if self.progress is not None:
                    self.progress(f"pull {commit.dataset}@{commit.seq}", number, len(lacking))
            before = commit

    def _needed(self, pull: ChainPull, commit: SnapshotCommit, before: SnapshotCommit | None) -> dict[str, str]:
        try:
            return reach(self.primary, commit, before)
        except (IntegrityError, ObjectNotFound) as exc:
            # a list that the copy has right, and the primary has no more
            needed = reach(self.opened(_Either(self.target.store, self.primary.store)), commit, before)
            if before is None or self.primary.catalog.at(before.dataset, before.seq) is not None:
                told = f"{exc.message} (in the primary; the copy has it right)"
                pull.note("damaged", str(exc.fields.get("key") or commit.tree), told)
            return needed

    def _lacking(self, keys: list[tuple[str, str]]) -> list[tuple[str, str]]:
        if self._there is None and len(keys) > LOOKED_UP:
            self._there = {info.key for prefix in BYTES for info in self.target.store.list(prefix)}
        return [(key, version) for key, version in keys if not self._is_there(key)]

    def _is_there(self, key: str) -> bool:
        return key in self._there if self._there is not None else exists(self.target.store, key)

    def _copy(self, key: str, version: str) -> None:
        """Copy one object as it is: what it is worth is judged in the copy. One that is gone by now is told of by the proof."""
        store, source = self.target.store, self.primary.store
        try:
            size = source.head(key, version=version or None).size
            chunks = source.stream(key, version=version or None)
            if size <= CREATED:
                store.write(key, b"".join(chunks), create=True)
            else:
                store.write(key, chunks)
        except (ObjectNotFound, ObjectExists):
            return
        self.objects, self.bytes = self.objects + 1, self.bytes + size
        if self._there is not None:
            self._there.add(key)

    def prove(self, pull: ChainPull, commits: Sequence[SnapshotCommit], base: Proven | None) -> bool:
        """Read back what is new in the copy, by every hash, as it will be with the planned records; what proves wrong cuts the chain.

        True where all that is left is right.
        """
        if _is_right(self._verified(pull, base)):
            return True
        for commit in commits:
            wrong = self._mended(pull, commit)
            if wrong is not None:
                key, problem = wrong
                pull.note("damaged", key, f"{problem}; {commit.dataset}@{commit.seq} and what came after it is not taken")
                pull.cut(commit.seq)
                break
        report = self._verified(pull, base)
        if not _is_right(report):
            for finding in report.findings:
                if _is_of_bytes(finding.key):
                    pull.note("copy", finding.key, f"{finding.problem} (in the copy)")
            pull.cut(min(pull.commits, default=0))
        return _is_right(report)

    def _verified(self, pull: ChainPull, base: Proven | None) -> VerifyReport:
        view = ForeseenCopy(self.target.store, pull.keyed)
        return verify(self.opened(view), level="read", dataset=pull.dataset, proven=base, progress=self.progress)

    def _mended(self, pull: ChainPull, commit: SnapshotCommit) -> tuple[str, str] | None:
        """Put right what an earlier run copied wrong and no record shows yet, from the primary; what is right in neither, or None."""
        store = self.target.store
        records = {IDENTITY: store.read(IDENTITY)} | {info.key: store.read(info.key) for info in store.list(DATA_KEYS)}
        view = MendedView(store, records)
        reader = _Chosen(self.opened(view), view, [self.primary.store], self.progress)
        reader.chosen = [commit]
        contents = reader.run()
        for key in sorted(contents.lost):
            return key, contents.wrong.get(key) or contents.unread.get(
                key, "expected an object, found none that proves right"
            )
        for key in sorted(contents.sources):
            actual = digest_of(store, key)
            expected = digest_of(self.primary.store, key)
            if actual and not self.target.keeps_versions:
                set_aside(self.target, key, actual)
            store.write(key, checked(self.primary.store, key, expected))
            contents.proofs[key](self.opened(store))
            self.objects += 1
            if commit.seq not in pull.commits:
                problem = contents.wrong[key]
                pull.note(
                    "copy", key, f"{problem} (in the copy, of {commit.dataset}@{commit.seq}): put right from the primary"
                )
        return None


class _Either(ForeseenCopy):
    """One store, and for what it has not, another."""

    def __init__(self, base: Store, other: Store) -> None:
        super().__init__(base, {})
        self.other = other

    def read(
        self, key: str, *, version: str | None = None, if_match: str | None = None, start: int = 0, length: int | None = None
    ) -> bytes:
        """As of the first that has it."""
        try:
            return self.base.read(key, start=start, length=length)
        except ObjectNotFound:
            return self.other.read(key, version=version, start=start, length=length)


def _is_right(report: VerifyReport) -> bool:
    return not any(_is_of_bytes(finding.key) for finding in report.findings)


def _is_of_bytes(key: str) -> bool:
    """What is wrong with records was told when they were planned."""
    return key.startswith((*BYTES, IDENTITY, DATA_KEYS))
