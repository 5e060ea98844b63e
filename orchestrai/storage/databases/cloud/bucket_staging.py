"""Where files lie between a warehouse and this side: a folder of a bucket that both reach."""

from dataclasses import dataclass
from pathlib import Path

from orchestrai.storage.base import Store
from orchestrai.storage.url import open_store


@dataclass(frozen=True)
class BucketStaging:
    """See Staging; `place` is the folder's URL without a slash at the end."""

    place: str
    store: Store

    @classmethod
    def at(cls, place: str) -> "BucketStaging":
        """The folder at a URL. Raises ConfigError."""
        return cls(place, open_store(place))

    def put(self, key: str, path: Path) -> None:
        """Copy a file there."""
        self.store.write_file(key, path)

    def fetch(self, folder: str, to: Path) -> list[Path]:
        """The files of a folder, copied here."""
        paths = []
        for number, info in enumerate(self.store.list(f"{folder}/")):
            path = to / f"{number:06d}.parquet"
            with path.open("wb") as file:
                for chunk in self.store.stream(info.key):
                    file.write(chunk)
            paths.append(path)
        return paths

    def clean(self, folder: str) -> None:
        """Remove the files of a folder."""
        for info in list(self.store.list(f"{folder}/")):
            self.store.delete(info.key)
