"""Where executors find a vault, and what opens it: by URL, by the name of the key service, by where the key file lies."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from orchestrai.core.canonical import canonical_json
from orchestrai.errors import ConfigError
from orchestrai.project.project_place import SENT
from orchestrai.storage.base import Store
from orchestrai.storage.url import address_of, open_store
from orchestrai.vault.keys.data_keys import WrappedKey, cipher_of, wrapped_keys
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.keys.key_port import KeyPort
from orchestrai.vault.vault_store import OpenedVault
from orchestrai.vault.verify.content_check import Held


def store_address(store: Store) -> str:
    """The URL by which an executor opens a store; empty for one that only this process has, or that its limits bind to it."""
    from orchestrai.storage.limits import limits_of

    return "" if limits_of(store) or store.url.startswith("memory:") else address_of(store)


@dataclass(frozen=True)
class VaultAddress:
    """A vault by where it lies; `wrapped` are the records of its data keys, which this process has verified and none can open by itself."""

    url: str
    vault: str
    port: str = ""
    key_file: str = ""
    wrapped: tuple[tuple[str, str, str, str], ...] = ()

    @classmethod
    def of(cls, vault: OpenedVault) -> "VaultAddress":
        """The address of a vault that is there."""
        url, identity, port = store_address(vault.store), vault.identity(), vault.encryption
        if port is None:
            return cls(url, identity)
        records = wrapped_keys(vault.store, identity, vault.keyring)
        wrapped = tuple((one.place, one.id.hex(), one.port, one.wrapped.hex()) for one in records)
        return cls(url, identity, port.name, str(port.path.absolute()) if isinstance(port, FileKey) else "", wrapped)

    def as_json(self) -> dict[str, Any]:
        """The form in which it is sent."""
        return asdict(self)


def held_at(document: Mapping[str, Any]) -> Held:
    """The vault at an address, opened once in a process for the connections that are in force."""
    return _held(canonical_json(document), os.environ.get(SENT, ""))


@lru_cache(maxsize=4)
def _held(text: bytes, connections: str) -> Held:
    import json

    address = VaultAddress(**json.loads(text))
    store = open_store(address.url)
    if not address.port:
        return Held(store, address.vault, None)
    records = [
        WrappedKey(place, bytes.fromhex(name), port, bytes.fromhex(wrapped))
        for place, name, port, wrapped in address.wrapped
    ]
    return Held(store, address.vault, cipher_of(records, address.vault, _port(address), store.url))


def _port(address: VaultAddress) -> KeyPort:
    from orchestrai.vault.keys.key_services import key_port

    if not address.key_file:
        return key_port(address.port, Path())
    path = Path(address.key_file)
    if not path.exists():
        # a key file is made where there is none: that must not happen on an executor
        raise ConfigError(
            f"expected the key file of the sealed vault at {path} on the executor too, found none: mount it there, or wrap the vault's "
            "data key by a key service (`orchestrai vault rewrap --to`)"
        )
    return FileKey(path)
