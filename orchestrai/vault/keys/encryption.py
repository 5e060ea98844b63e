"""Client-side encryption: AES-256-GCM in chunks under a data key that a key port wraps.

    sealed bytes = "ORV1" | data key id (8) | salt (16) | chunk ...      chunk = AES-256-GCM(1 MiB of plaintext) with its 16-byte tag

Each sealing has a key of its own: HKDF-SHA256(data key, salt, context), where the context binds vault, kind, key, session and
offset. The nonce is the chunk's number and whether it is the last (the STREAM construction, Hoang et al. 2015), so that no
chunk can be dropped, moved or taken from elsewhere.
"""

import json.encoder
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag

from orchestrai.errors import DigestMismatch

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

CHUNK = 1024 * 1024
_MAGIC = b"ORV1"
_text = json.encoder.encode_basestring
_TAG = 16
_HEADER = len(_MAGIC) + 8 + 16


def context(vault: str, kind: str, key: str, session: str, offset: int = 0) -> bytes:
    """What encryption binds bytes to."""
    # canonical_json of the five, spelt out: it is asked for once for each sealed piece
    return f"[{_text(vault)},{_text(kind)},{_text(key)},{_text(session)},{offset}]".encode()


@dataclass(frozen=True)
class Cipher:
    """Seals with one data key, opens with any it holds."""

    current: bytes
    keys: Mapping[bytes, bytes]

    def border_key(self) -> bytes:
        """What decides where contents are cut: a secret of its own, the same as long as the vault has its first data key."""
        import hashlib

        return hashlib.blake2b(next(iter(self.keys.values())), digest_size=32, person=b"chunk borders").digest()

    def sealed_length(self, size: int) -> int:
        """How many bytes `size` bytes become."""
        return _HEADER + size + _TAG * max(1, -(-size // CHUNK))

    def seal(self, context: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Encrypt a stream; bounded memory."""
        salt = os.urandom(16)
        sealer = aead(_derive(self.keys[self.current], salt, context))
        yield _MAGIC + self.current + salt
        number, pending = 0, b""
        for block in _blocks(chunks, CHUNK):
            if number or pending:
                yield sealer.encrypt(_nonce(number - 1, last=False), pending, None)
            pending, number = block, number + 1
        yield sealer.encrypt(_nonce(max(0, number - 1), last=True), pending, None)

    def seal_small(self, context: bytes, data: bytes) -> bytes:
        """`seal` in one piece, for at most one chunk."""
        salt = os.urandom(16)
        sealed = aead(_derive(self.keys[self.current], salt, context)).encrypt(_ONLY, data, None)
        return _MAGIC + self.current + salt + sealed

    def plain_length(self, sealed: int) -> int:
        """How many bytes the `sealed` bytes of at most one chunk hold."""
        return max(0, sealed - _HEADER - _TAG)

    def open_small(self, context: bytes, sealed: bytes | memoryview) -> bytes:
        """`open` in one piece, for at most one chunk; raises DigestMismatch."""
        opener = self._opened(sealed[:_HEADER], context)
        try:
            return opener.decrypt(_ONLY, sealed[_HEADER:], None)
        except InvalidTag as exc:
            raise _altered() from exc

    def open_into(self, context: bytes, sealed: memoryview, target: memoryview) -> None:
        """`open_small` into as many bytes as `plain_length` says; what is in them is no one's after DigestMismatch."""
        opener = self._opened(sealed[:_HEADER], context)
        try:
            opener.decrypt_into(_ONLY, sealed[_HEADER:], None, target)
        except InvalidTag as exc:
            raise _altered() from exc

    def _opened(self, header: bytes | memoryview, context: bytes) -> "AESGCM":
        header = bytes(header)
        key = self.keys.get(header[4:12])
        if len(header) != _HEADER or header[:4] != _MAGIC or key is None:
            raise DigestMismatch(
                "expected bytes sealed with this vault's data key, found others: run `orchestrai vault heal --apply`"
            )
        return aead(_derive(key, header[12:], context))

    def open(self, context: bytes, chunks: Iterable[bytes], target: memoryview | None = None) -> Iterator[bytes]:
        """Decrypt a stream, each chunk proven before it is yielded; raises DigestMismatch.

        With a `target` as long as the longest chunk each is a view of it, valid until the next is asked for.
        """
        blocks = _blocks(chunks, CHUNK + _TAG, first=_HEADER)
        opener = self._opened(next(blocks, b""), context)
        number, pending = 0, b""
        try:
            for block in blocks:
                if pending:
                    yield _decrypted(opener, _nonce(number - 1, last=False), pending, target)
                pending, number = block, number + 1
            yield _decrypted(opener, _nonce(max(0, number - 1), last=True), pending, target)
        except InvalidTag as exc:
            raise _altered() from exc


def _decrypted(opener: "AESGCM", nonce: bytes, block: bytes, target: memoryview | None) -> bytes:
    size = len(block) - _TAG
    if target is None or not 0 < size <= len(target):
        return opener.decrypt(nonce, block, None)
    opener.decrypt_into(nonce, block, None, target[:size])
    return target[:size]  # type: ignore[return-value]  # a view stands in for bytes wherever they are only written and hashed


def _altered() -> DigestMismatch:
    return DigestMismatch("expected sealed bytes unchanged, found them altered: run `orchestrai vault heal --apply`")


def block_sizes() -> Iterator[int]:
    """How long the pieces of sealed bytes are, one after another: who reads by them spares a copy."""
    yield _HEADER
    while True:
        yield CHUNK + _TAG


def aead(key: bytes) -> "AESGCM":
    """AES-256-GCM under a key."""
    return _primitives()[0](key)


def _derive(key: bytes, salt: bytes, context: bytes) -> bytes:
    _, hkdf, sha256 = _primitives()
    return hkdf(sha256, 32, salt, context).derive(key)


@cache
def _primitives() -> "tuple[type[AESGCM], type[HKDF], SHA256]":
    """Loaded on first use: the commands of a vault without encryption need none of them."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return AESGCM, HKDF, SHA256()


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\x01" if last else b"\x00")


# of a stream that is one chunk
_ONLY = _nonce(0, last=True)


def _blocks(chunks: Iterable[bytes], size: int, first: int = 0) -> Iterator[bytes]:
    """Cut a stream into blocks; a chunk that is one block is passed on as it is."""
    rest, wanted = b"", first or size
    for chunk in chunks:
        data, start = rest + chunk if rest else chunk, 0
        while len(data) - start >= wanted:
            yield data if len(data) == wanted else data[start : start + wanted]
            start, wanted = start + wanted, size
        rest = data[start:] if start < len(data) else b""
    if rest:
        yield rest
