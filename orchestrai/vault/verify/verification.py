"""What a verification has seen so far."""

from collections.abc import Sequence
from typing import NamedTuple

from orchestrai.vault.chain.chain_head import Head, state_of
from orchestrai.vault.format.chunk_table import StoredObject
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.format.records import ChainRecord, SnapshotCommit
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.proven import Reached


class Finding(NamedTuple):
    """One thing that is not as it should be; `key` names the object."""

    key: str
    problem: str


class Walk:
    """The objects and lists to look at, and what was found."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self.findings: list[Finding] = []
        self.files: dict[tuple[str | int, ...], StoredFile] = {}
        self.lists: set[tuple[str, str, str]] = set()
        # every object that holds bytes of a file, and the packs that are among them
        self.places: dict[str, StoredObject] = {}
        self._packs: set[tuple[str, int, str, str]] = set()
        # every object of bytes that a snapshot which counts names
        self.named: set[str] = set()
        self.reached: dict[str, Reached] = {}
        self.heads: dict[str, Head] = {}
        self.read = 0
        self.bytes = 0
        self.unchecked = 0

    def add(self, file: StoredFile) -> None:
        """A file whose bytes are to be looked at, once."""
        self.files.setdefault(file.where, file)
        if file.pack >= 0 and not file.objects:
            # thousands of files name one pack: it is spelt out once
            pack = (file.session, file.pack, file.name, file.version)
            if pack in self._packs:
                return
            self._packs.add(pack)
        for place in file.places:
            self.places[place.key] = place
            self.named.add(place.key)

    def reach(self, dataset: str, records: Sequence[ChainRecord], before: Reached | None) -> None:
        """Note how far a chain was looked at."""
        if records:
            self.heads[dataset] = state_of(records[-1])
            commits = [record.seq for record in records if isinstance(record, SnapshotCommit)]
            self.reached[dataset] = Reached(
                records[-1].seq,
                records[-1].digest,
                commits[-1] if commits else before.commit if before else 0,
                before.gone if before else (),
            )

    def note(self, key: str, problem: object) -> None:
        """Add a finding."""
        self.findings.append(Finding(key, getattr(problem, "message", None) or str(problem)))
