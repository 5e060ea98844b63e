"""The keys of persons: one each, in a store of their own outside lake and vault, so that they can really be destroyed.

    pepper                     32 random bytes, made once; names in this store are HMAC-SHA256(pepper, person)
    keys/<hh>/<name>           the person's 64-byte key
    erased/<name>              an empty mark: this person has no key and gets none

The store must not be versioned, replicated or backed up beyond the time in which an erasure has to take effect.
"""

import hmac
import secrets
from collections.abc import Iterable

from orchestrai.errors import IntegrityError, ObjectExists, ObjectNotFound
from orchestrai.privacy.tokens import KEY_BYTES
from orchestrai.settings import Settings
from orchestrai.storage.base import Store, exists
from orchestrai.storage.url import open_store

PEPPER = "pepper"


def open_person_keys(settings: Settings) -> "PersonKeys":
    """The person keys of a site: outside lake and vault, so that destroying one is final."""
    return PersonKeys(open_store(str(settings.key_folder / "persons")))


class PersonKeys:
    """Keys by person, made on first use; destroying one is final. Keeps keys in memory only for the length of one call."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._pepper = b""

    def name(self, person: str) -> str:
        """The person's name in records: it tells nothing without this store's pepper."""
        if not self._pepper:
            self._pepper = self._create(PEPPER, secrets.token_bytes(32))
            self.store.sync()
        return hmac.digest(self._pepper, person.encode(), "sha256").hex()

    def key(self, person: str) -> bytes | None:
        """The person's key, made on first use; None for a person who was erased. Raises IntegrityError for a damaged key."""
        return self.many([person])[person]

    def many(self, persons: Iterable[str]) -> dict[str, bytes | None]:
        """`key` of several persons; what was made is durable on return, so that no token outlives a key that was lost."""
        keys: dict[str, bytes | None] = {}
        made = False
        for person in persons:
            keys[person], new = self._key_of(self.name(person))
            made = made or new
        if made:
            self.store.sync()
        return keys

    def _key_of(self, name: str) -> tuple[bytes | None, bool]:
        if self._is_erased(name):
            return None, False
        try:
            key, new = self.store.read(_key(name)), False
        except ObjectNotFound:
            key, new = self._create(_key(name), secrets.token_bytes(KEY_BYTES)), True
        if self._is_erased(name):
            # an erasure came between: what was just made must not outlive it
            self.store.delete(_key(name))
            return None, False
        if len(key) != KEY_BYTES:
            raise IntegrityError(f"expected {KEY_BYTES} bytes in {_key(name)}, found {len(key)}: the key store is damaged")
        return key, new

    def peek(self, person: str) -> bytes | None:
        """The person's key if there is one; makes none."""
        try:
            return self.store.read(_key(self.name(person)))
        except ObjectNotFound:
            return None

    def is_erased(self, person: str) -> bool:
        """True once the person's key was destroyed."""
        return self._is_erased(self.name(person))

    def destroy(self, person: str) -> str:
        """Destroy the person's key for good and return the person's name in records. Idempotent; the mark goes first."""
        name = self.name(person)
        self.store.write(f"erased/{name}", b"")
        self.store.delete(_key(name))
        self.store.sync()
        return name

    def _is_erased(self, name: str) -> bool:
        return exists(self.store, f"erased/{name}")

    def _create(self, key: str, data: bytes) -> bytes:
        try:
            self.store.write(key, data, create=True)
        except ObjectExists:
            return self.store.read(key)
        return data


def _key(name: str) -> str:
    return f"keys/{name[:2]}/{name}"
