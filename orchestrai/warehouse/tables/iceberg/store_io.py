"""Iceberg's metadata by way of the product's own stores, so that a table is written with the connection that its URL names."""

import io
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pyiceberg.io import FileIO, InputFile, OutputFile

from orchestrai.errors import ObjectExists, ObjectNotFound
from orchestrai.storage.base import Store
from orchestrai.storage.url import open_store

if TYPE_CHECKING:
    from pyiceberg.typedef import Properties

# where a table's metadata lies: its URL as readers write it, and the address by which it is opened here
BASE, ADDRESS = "orchestrai.metadata-url", "orchestrai.metadata-address"


class StoreIO(FileIO):
    """Reads and writes what lies under one URL; pyiceberg makes it, by its name and the properties of the catalog."""

    def __init__(self, properties: "Properties | None" = None) -> None:
        super().__init__(properties or {})
        self._base = self.properties[BASE]
        self._opened: Store | None = None

    @property
    def store(self) -> Store:
        """The store, opened when it is first used."""
        if self._opened is None:
            self._opened = open_store(self.properties[ADDRESS])
        return self._opened

    def key(self, location: str) -> str:
        """Where a location lies in the store; raises FileNotFoundError for one that lies elsewhere."""
        if not location.startswith(f"{self._base}/"):
            raise FileNotFoundError(location)
        return location[len(self._base) + 1 :]

    def new_input(self, location: str) -> "_Input":
        """An object to read."""
        return _Input(location, self.store, self.key(location))

    def new_output(self, location: str) -> "_Output":
        """An object to write."""
        return _Output(location, self.store, self.key(location))

    def delete(self, location: "str | InputFile | OutputFile") -> None:
        """Remove an object; one that is not there is no error."""
        self.store.delete(self.key(location if isinstance(location, str) else location.location))


class _Input(InputFile):
    def __init__(self, location: str, store: Store, key: str) -> None:
        super().__init__(location)
        self._store, self._key = store, key

    def __len__(self) -> int:
        return self._store.head(self._key).size

    def exists(self) -> bool:
        try:
            self._store.head(self._key)
        except ObjectNotFound:
            return False
        return True

    def open(self, seekable: bool = True) -> Any:
        try:
            return io.BytesIO(self._store.read(self._key))
        except ObjectNotFound as exc:
            raise FileNotFoundError(self.location) from exc


class _Output(OutputFile):
    def __init__(self, location: str, store: Store, key: str) -> None:
        super().__init__(location)
        self._store, self._key = store, key

    def __len__(self) -> int:
        return self._store.head(self._key).size

    def exists(self) -> bool:
        return self.to_input_file().exists()

    def to_input_file(self) -> _Input:
        return _Input(self.location, self._store, self._key)

    def create(self, overwrite: bool = False) -> Any:
        return _Written(self, overwrite)

    def put(self, data: bytes, overwrite: bool) -> None:
        """Store the whole object."""
        try:
            self._store.write(self._key, data, create=not overwrite)
        except ObjectExists as exc:
            raise FileExistsError(self.location) from exc


class _Written(io.BytesIO):
    """Metadata is small: it is gathered, and stored when it is closed without an error."""

    def __init__(self, target: _Output, overwrite: bool) -> None:
        super().__init__()
        self._target, self._overwrite = target, overwrite

    def close(self) -> None:
        if not self.closed:
            data = self.getvalue()
            super().close()
            self._target.put(data, self._overwrite)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            super().close()
