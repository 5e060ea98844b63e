"""A store as a vault: whose it is, what seals it, what it holds."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from orchestrai.core.canonical import canonical_json, sha256_hex
from orchestrai.core.identity import new_session_id, utc_now
from orchestrai.errors import ConfigError, MissingObject, ObjectExists, ObjectNotFound
from orchestrai.ledger.signing import Keyring, Signer, rules_of
from orchestrai.ledger.trust.key_rules import governed
from orchestrai.storage.base import Store
from orchestrai.vault.catalog import Catalog
from orchestrai.vault.format.layout import CLOCK, DATA_KEYS, IDENTITY, ROOT
from orchestrai.vault.format.lists import Codec, ColumnCodec
from orchestrai.vault.format.records import FORMAT, IDENTITY_TYPE, document
from orchestrai.vault.keys.encryption import Cipher, context
from orchestrai.vault.keys.key_port import KeyPort

if TYPE_CHECKING:
    from orchestrai.vault.spread.vault_spread import VaultSpread

# that copy, unless it is said otherwise
COPYING_THREADS = 2


class OpenedVault:
    """What every part of the vault works with.

    `max_session` is how long a write is expected to last at most: a prune leaves alone what may belong to one. `workers` is the number
    of copying threads (0 copies in the calling thread). `root` signs a new vault's key log; without one the writer's own key does.
    """

    def __init__(
        self,
        store: Store,
        signer: Signer,
        keyring: Keyring | None = None,
        *,
        clock: Callable[[], datetime] = utc_now,
        new_id: Callable[[], str] = new_session_id,
        encryption: KeyPort | None = None,
        max_session: timedelta = timedelta(hours=24),
        workers: int = COPYING_THREADS,
        codec: Codec | None = None,
        root: Signer | None = None,
    ) -> None:
        self.store = store
        self.signer = signer
        trusted = keyring or signer.keyring()
        # what stands in for a keyring in trials has no key log
        self.keyring = governed(store, trusted) if isinstance(trusted, Keyring) else trusted
        self.root = root
        self.clock = clock
        self.new_id = new_id
        self.encryption = encryption
        self.max_session = max_session
        self.workers = workers
        self.codec = codec or ColumnCodec()
        self.catalog = Catalog(store, self.keyring, self.identity, self.codec, lambda: self.cipher)
        # who stores, reads back and copies out the bytes in the place of this process, where that was chosen
        self.spread: VaultSpread | None = None
        self._identity = self._identity_digest = ""
        self._cipher: Cipher | None = None

    def identity(self) -> str:
        """The vault's name, to which every record and every sealed byte is bound; empty where there is no vault yet.

        Raises MissingObject where there is a vault but not its identity.
        """
        if not self._identity:
            envelope = identity_record(self.store)
            if envelope is None:
                return ""
            body = document(self.keyring, IDENTITY_TYPE, envelope)
            if bool(body["encrypted"]) != self.encrypted:
                raise ConfigError(
                    f"expected a vault that is {'' if self.encrypted else 'not '}encrypted in {self.store.url}, found the "
                    "opposite: encryption is chosen when a vault is made; use a new vault, or set its key"
                )
            self._identity, self._identity_digest = str(body["vault"]), sha256_hex(envelope)
        return self._identity

    def identity_digest(self) -> str:
        """The hash of the vault's identity, which every commit names."""
        self.identity()
        return self._identity_digest

    def key_digests(self) -> dict[str, str]:
        """The hash of each record of a wrapped data key, by its name, which every commit names; none in a plain vault."""
        if not self.encrypted:
            return {}
        return {
            info.key.removeprefix(DATA_KEYS): sha256_hex(self.store.read(info.key)) for info in self.store.list(DATA_KEYS)
        }

    def establish(self) -> str:
        """The vault's name; a store that holds nothing of a vault becomes one, with its first data key. Idempotent.

        Only a first commit does so: where the identity or the key is missing beside other objects, MissingObject or ConfigError is raised.
        """
        if not self.identity():
            body = {"format": FORMAT, "vault": self.new_id(), "encrypted": self.encrypted}
            try:
                self.store.write(IDENTITY, self.signer.sign(IDENTITY_TYPE, canonical_json(body)), create=True)
            except ObjectExists:
                pass  # another process made it first: that one counts
        if self.encryption is not None and self._cipher is None and is_new(self.store):
            from orchestrai.vault.keys.data_keys import make_data_key

            make_data_key(self.store, self.identity(), self.encryption, self.signer)
        assert self.encryption is None or self.cipher is not None
        rules = rules_of(self.keyring)
        if rules is not None:
            rules.begin(self.root, self.signer, self.clock().astimezone(UTC).isoformat())
            self.require_may("write", anew=False)
        return self.identity()

    def require_may(self, *roles: str, anew: bool = True) -> None:
        """Raise KeyRefused where this machine's own key has none of these roles, by the key log as it is now, or as it was read."""
        rules = rules_of(self.keyring)
        if rules is not None:
            rules.require_may(self.signer.key_id, *roles, anew=anew)

    @property
    def key_log(self) -> str:
        """The end of the key log, as records name it."""
        rules = rules_of(self.keyring)
        return rules.named() if rules is not None else ""

    @property
    def encrypted(self) -> bool:
        """True when contents and lists are sealed before they leave this machine."""
        return self.encryption is not None

    @property
    def cipher(self) -> Cipher | None:
        """What seals and opens, or None in a vault without encryption."""
        if self.encryption is not None and self._cipher is None:
            from orchestrai.vault.keys.data_keys import open_cipher

            self._cipher = open_cipher(self.store, self.identity(), self.encryption, self.keyring)
        return self._cipher

    def rewrap(self, port: KeyPort) -> int:
        """Wrap the data keys by another port, which opens the vault from then on; returns how many. Idempotent.

        Raises ConfigError in a vault without encryption.
        """
        cipher = self.cipher
        if cipher is None:
            raise ConfigError(f"expected a sealed vault, found a plain one in {self.store.url}: it has no data key to wrap")
        from orchestrai.vault.keys.data_keys import rewrap

        wrapped = rewrap(self.store, self.identity(), cipher, port, self.signer, self.keyring)
        self.encryption = port
        return wrapped

    def seal(self, kind: str, key: str, session: str, data: bytes, offset: int = 0) -> bytes:
        """Encrypt a list, or a page that begins at an offset, where the vault is encrypted."""
        cipher = self.cipher
        if cipher is None:
            return data
        return b"".join(cipher.seal(context(self.identity(), kind, key, session, offset), [data]))

    def store_time(self) -> datetime:
        """The store's own time, learnt by writing."""
        key = f"{CLOCK}{self.new_id()}.json"
        self.store.write(key, b"{}")
        now = self.store.head(key).modified
        self.store.delete(key)
        return now.astimezone(UTC)


def is_new(store: Store) -> bool:
    """True for a store that holds nothing of a vault but its identity."""
    return all(info.key == IDENTITY for info in islice(store.list(ROOT), 2))


def identity_record(store: Store) -> bytes | None:
    """The signed identity of the vault in a store; None where there is no vault, MissingObject where one lacks it."""
    try:
        return store.read(IDENTITY)
    except ObjectNotFound:
        if next(iter(store.list(ROOT)), None) is None:
            return None
    try:
        # made by another process between the two looks
        return store.read(IDENTITY)
    except ObjectNotFound:
        raise MissingObject(
            f"expected {IDENTITY} in {store.url}, which holds a vault, found none: run `orchestrai vault heal --apply`",
            key=IDENTITY,
        ) from None
