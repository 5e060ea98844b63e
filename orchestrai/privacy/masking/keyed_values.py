"""What stands for a value under a key: tokens, permutations within a span, bits that nothing but the key and a place decide.

The same value has the same token whatever its column and dataset are called, so that every join holds; another key gives others.
"""

import hashlib
from collections.abc import Collection, Iterable
from functools import cached_property

KEY_BYTES = 32
PREFIX = "tok_"
# tokens of whole numbers: of 64 bits the upper half of what is positive, of 32 bits the same
LARGE, LARGE_SPAN = 1 << 62, 1 << 62
SMALL, SMALL_SPAN = 1 << 30, (1 << 30)
_ROUNDS = 8


class MaskKey:
    """A key of 32 bytes and what it gives; nothing here depends on anything else."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise ValueError(f"expected {KEY_BYTES} bytes, found {len(secret)}")
        self._secret = secret

    @cached_property
    def key_id(self) -> str:
        """What records call the key by: it tells nothing of it."""
        return self.digest("key id", b"")[:8].hex()

    def digest(self, use: str, data: bytes, size: int = 32) -> bytes:
        """`size` bytes, at most 64, for a use and some data."""
        return hashlib.blake2b(use.encode() + b"\0" + data, key=self._secret, digest_size=size).digest()

    def text(self, value: str) -> str:
        """The token of a text: 128 bits."""
        return PREFIX + self.digest("text", value.encode("utf-8", "surrogatepass"), 16).hex()

    def large(self, value: int) -> int:
        """The token of a whole number of 64 bits."""
        return LARGE + int.from_bytes(self.digest("whole", str(value).encode(), 8), "big") % LARGE_SPAN

    def small(self, values: Collection[int]) -> dict[int, int]:
        """Tokens of 32 bits for all values at once, one to one, none of which is itself a value; raises ValueError for too many."""
        if len(values) > SMALL_SPAN // 4:
            raise ValueError(f"expected at most {SMALL_SPAN // 4:,} different numbers, found {len(values):,}")
        taken, tokens = set(values), {}
        drawn = sorted((int.from_bytes(self.digest("small", str(value).encode(), 8), "big"), value) for value in values)
        for draw, value in drawn:
            place = draw % SMALL_SPAN
            while SMALL + place in taken:
                place = (place + 1) % SMALL_SPAN
            taken.add(SMALL + place)
            tokens[value] = SMALL + place
        return tokens

    def permuted(self, value: int, span: int, use: str) -> int:
        """A place from 0 to `span` for a place in it, one to one: a Feistel network, walked until it lies within."""
        half = max(1, (max(span - 1, 1).bit_length() + 1) // 2)
        while True:
            value = self._network(value, half, use)
            if value < span:
                return value

    def _network(self, value: int, half: int, use: str) -> int:
        mask = (1 << half) - 1
        left, right = value >> half, value & mask
        for number in range(_ROUNDS):
            mixed = int.from_bytes(self.digest(f"round {number} {use}", right.to_bytes(16, "big"), 16), "big")
            left, right = right, left ^ (mixed & mask)
        return left << half | right

    def numbers(self, use: str, count: int) -> Iterable[int]:
        """`count` numbers of 64 bits that follow from the key and the use alone."""
        seed = self.digest(f"stream {use}", b"")
        data = hashlib.shake_256(seed).digest(8 * count)
        return (int.from_bytes(data[at : at + 8], "big") for at in range(0, 8 * count, 8))
