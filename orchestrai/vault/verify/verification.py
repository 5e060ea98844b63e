"""What a verification has seen so far."""

from typing import NamedTuple

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
        self.files: dict[tuple[str, int, int], StoredFile] = {}
        self.lists: set[tuple[str, str, str]] = set()
        # every object of bytes that a snapshot which counts names
        self.named: set[str] = set()
        self.read = 0
        self.bytes = 0
        self.unchecked = 0

    def note(self, key: str, problem: object) -> None:
        """Add a finding."""
        self.findings.append(Finding(key, getattr(problem, "message", None) or str(problem)))
