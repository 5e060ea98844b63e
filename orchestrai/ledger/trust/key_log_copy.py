"""The copy of a vault's key log that a home keeps: the vault's own must go on from it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class KeyLogCopy:
    """`<key folder>/log/<vault>/`: records under their numbers, censuses under their hashes; none where the home cannot be written."""

    top: Path | None

    @property
    def is_there(self) -> bool:
        """Whether this home has seen a key log."""
        return self.top is not None and self.top.is_dir()

    def records(self, vault: str) -> list[bytes]:
        """The records of a vault's log as they were seen, oldest first."""
        if self.top is None or not vault:
            return []
        return [path.read_bytes() for path in sorted((self.top / vault).glob("*.json"))]

    def extend(self, vault: str, envelopes: list[bytes], known: int) -> None:
        """Keep what is new behind the first `known` records."""
        for number, envelope in enumerate(envelopes[known:], known + 1):
            if not self._put(vault, f"{number:012d}.json", envelope):
                return

    def census(self, vault: str, digest: str) -> bytes | None:
        """A census as it was seen; None for one that was not."""
        place = self.top / vault / digest if self.top is not None else None
        return place.read_bytes() if place is not None and place.is_file() else None

    def keep_census(self, vault: str, digest: str, data: bytes) -> None:
        """Keep a census, where there is a copy of its log."""
        if self.top is not None and data and (self.top / vault).is_dir() and not (self.top / vault / digest).exists():
            self._put(vault, digest, data)

    def _put(self, vault: str, name: str, data: bytes) -> bool:
        if self.top is None:
            return False
        place = self.top / vault if vault else self.top
        try:
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            staged = place / f".{name.partition('.')[0]}.tmp"
            staged.write_bytes(data)
            staged.replace(place / name)
        except OSError:
            return False
        return True
