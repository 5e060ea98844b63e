"""What a verification has seen so far."""

from typing import NamedTuple

from orchestrai.core.canonical import sha256_hex
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.vault import Vault


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
        # by object, where the chunks begin that were read
        self.chunks: dict[str, set[int]] = {}
        self.lists: set[tuple[str, str, str]] = set()
        # every object of bytes that a snapshot which counts names
        self.named: set[str] = set()
        self.read = 0
        self.bytes = 0
        self.unchecked = 0

    def add(self, file: StoredFile) -> None:
        """A file whose bytes are to be looked at, once."""
        if file.objects:
            # a shared chunk may be listed right in one file and wrong in another
            place: tuple[str | int, ...] = (file.sha256, sha256_hex(file.table), *(stored.key for stored in file.objects))
        else:
            place = (file.key, file.offset, file.length, file.at, file.size)
        self.files.setdefault(place, file)

    def note(self, key: str, problem: object) -> None:
        """Add a finding."""
        self.findings.append(Finding(key, getattr(problem, "message", None) or str(problem)))
