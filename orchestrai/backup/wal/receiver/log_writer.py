"""What one receiver received, committed: a partition of each hour is its own, and goes on where an earlier process of it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrai.backup.wal.log_archive import (
    MARKS,
    SERVER,
    TIMELINES,
    LogState,
    Mark,
    ServerNote,
    read_json,
    read_log,
    read_marks,
)
from orchestrai.errors import IntegrityError
from orchestrai.ledger.manifest import canonical_json
from orchestrai.vault.commit.source import SourceFile, held
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.vault import Vault

PARTITION_PIECES = 128
_NOWHERE = Path("/in-the-vault")


class LogWriter:
    """Commits what one receiver received; `receiver` names its partitions. Not safe to share between threads."""

    def __init__(self, vault: Vault, dataset: str, receiver: str, state: LogState) -> None:
        self.vault = vault
        self.dataset = dataset
        self.receiver = receiver
        self.state = state
        self._hour, self._number = "", 0
        # in how many hours it wrote
        self.hours = 0
        self._files: list[SourceFile] = []
        self._marks: list[Mark] = []

    def commit(
        self, server: ServerNote, pieces: Sequence[SourceFile], mark: Mark | None, histories: Mapping[int, bytes]
    ) -> SnapshotCommit:
        """Commit new pieces, histories and a mark in one snapshot; what lies in the vault is referred to by its token, not read.

        Raises IntegrityError where the vault has other bytes of a new piece than were received: they are to be received again.
        """
        hour = f"{self.vault.clock():%Y-%m-%dT%H}"
        if hour != self._hour:
            self._begin(hour)
        if len(self._files) >= PARTITION_PIECES:
            # a list is written anew with each commit: it stays short
            self._number, self._files, self._marks = self._number + 1, [], []
        partition = f"{hour}-{self.receiver}-{self._number:04d}"
        marks = [*self._marks, *([mark] if mark else [])]
        files = [*self._files, *(piece._replace(sha256="") for piece in pieces)]
        said = canonical_json([one.as_json() for one in marks])
        contents: dict[str, Sequence[SourceFile]] = {partition: [*files, SourceFile(MARKS, len(said), said)]}
        if self.state.server is None:
            contents[SERVER] = [held("server.json", canonical_json(server.as_json()))]
        if histories:
            known = [_listed(file) for _, file in self.state.histories.values()]
            contents[TIMELINES] = [*known, *(held(f"{n:08X}.history", data) for n, data in histories.items())]
        last = self.state.commit.seq if self.state.commit else 0
        commit = self.vault.commit(self.dataset, contents, source={"asset": self.dataset}, after=last)
        if pieces:
            self._require_received(commit, partition, pieces)
        self._files = [file._replace(content=_NOWHERE) for file in files]
        self._marks = marks
        anew = bool(histories) or self.state.server is None
        self.state = read_log(self.vault, self.dataset) if anew else replace(self.state, commit=commit)
        return commit

    def _require_received(self, commit: SnapshotCommit, partition: str, pieces: Sequence[SourceFile]) -> None:
        listed = {file.path: file.sha256 for file in self.vault.files(commit, partition)}
        for piece in pieces:
            if listed.get(piece.path) != piece.sha256:
                # nobody goes on from there: the snapshot before it is the newest again
                self.vault.forget_record(self.dataset, commit.seq, reason=f"{piece.path} is not what was received")
                raise IntegrityError(
                    f"expected {piece.path} in the vault as it was received, found other bytes: check the disk of the receiver's spool"
                )

    def _begin(self, hour: str) -> None:
        """Go on with the newest partition of the hour, which an earlier process of this receiver may have begun."""
        self._hour, self._number, self._files, self._marks = hour, 0, [], []
        self.hours += 1
        commit = self.state.commit
        entries = self.vault.partitions(commit) if commit else {}
        begun = [name for name in entries if name.startswith(f"{hour}-{self.receiver}-")]
        if not begun:
            return
        self._number = int(max(begun).rsplit("-", 1)[1])
        for file in self.vault.catalog.files(entries[max(begun)]):
            if file.path == MARKS:
                self._marks = read_marks(read_json(self.vault, file))
            else:
                self._files.append(SourceFile(file.path, file.size, _NOWHERE, "", file.rows, file.role, file.token))


def _listed(file: StoredFile) -> SourceFile:
    """A file that lies in the vault, found there by its hash."""
    return SourceFile(file.path, file.size, _NOWHERE, file.sha256, file.rows, file.role)
