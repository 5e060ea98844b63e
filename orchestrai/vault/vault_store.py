"""A store as a vault: whose it is, what seals it, what it holds."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from orchestrai.core.canonical import canonical_json
from orchestrai.core.identity import new_session_id, utc_now
from orchestrai.errors import ConfigError, ObjectExists, ObjectNotFound
from orchestrai.ledger.signing import Keyring, Signer
from orchestrai.storage.base import Store
from orchestrai.vault.catalog import Catalog
from orchestrai.vault.commit.writer import context
from orchestrai.vault.format.layout import CLOCK, IDENTITY
from orchestrai.vault.format.lists import Codec, ColumnCodec
from orchestrai.vault.format.records import FORMAT, IDENTITY_TYPE, document
from orchestrai.vault.keys.encryption import Cipher
from orchestrai.vault.keys.key_port import KeyPort


class OpenedVault:
    """What every part of the vault works with.

    `max_session` must be equal for all who use the vault. `workers` is the number of copying threads (0 copies in the calling thread).
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
        workers: int = 2,
        codec: Codec | None = None,
    ) -> None:
        self.store = store
        self.signer = signer
        self.keyring = keyring or signer.keyring()
        self.clock = clock
        self.new_id = new_id
        self.encryption = encryption
        self.max_session = max_session
        self.workers = workers
        self.codec = codec or ColumnCodec()
        self.catalog = Catalog(store, self.keyring, self.identity, self.codec, lambda: self.cipher, max_session)
        self._identity = ""
        self._cipher: Cipher | None = None

    def identity(self) -> str:
        """The vault's name, made on first use; every commit and every sealed byte is bound to it."""
        if not self._identity:
            try:
                envelope = self.store.read(IDENTITY)
            except ObjectNotFound:
                envelope = self._make_identity()
            body = document(self.keyring, IDENTITY_TYPE, envelope)
            if bool(body["encrypted"]) != self.encrypted:
                raise ConfigError(
                    f"expected a vault that is {'' if self.encrypted else 'not '}encrypted in {self.store.url}, found the "
                    "opposite: encryption is chosen when a vault is made; use a new vault, or set its key"
                )
            self._identity = str(body["vault"])
        return self._identity

    def _make_identity(self) -> bytes:
        body = {"format": FORMAT, "vault": self.new_id(), "encrypted": self.encrypted}
        try:
            self.store.write(IDENTITY, self.signer.sign(IDENTITY_TYPE, canonical_json(body)), create=True)
        except ObjectExists:
            pass  # another process made it first: that one counts
        return self.store.read(IDENTITY)

    @property
    def encrypted(self) -> bool:
        """True when contents and lists are sealed before they leave this machine."""
        return self.encryption is not None

    @property
    def cipher(self) -> Cipher | None:
        """What seals and opens, or None in a vault without encryption."""
        if self.encryption is not None and self._cipher is None:
            from orchestrai.vault.keys.data_keys import open_cipher

            self._cipher = open_cipher(self.store, self.identity(), self.encryption, self.signer, self.keyring)
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

    def seal(self, kind: str, key: str, session: str, data: bytes) -> bytes:
        """Encrypt a list where the vault is encrypted."""
        cipher = self.cipher
        if cipher is None:
            return data
        return b"".join(cipher.seal(context(self.identity(), kind, key, session), [data]))

    def store_time(self) -> datetime:
        """The store's own time, learnt by writing."""
        key = f"{CLOCK}{self.new_id()}.json"
        self.store.write(key, b"{}")
        now = self.store.head(key).modified
        self.store.delete(key)
        return now.astimezone(UTC)
