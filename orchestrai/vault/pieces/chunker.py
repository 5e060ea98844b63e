"""Content-defined borders, under a key: who sees how long chunks are learns nothing of a content that he could guess.

A border follows from the 64 bytes before it. Three sieves, each finer and dearer: a sum of four bytes with secret odd factors (one in
256 passes, at the speed of byte arithmetic), a product of sixteen bytes with secret odd factors (one in 64), and BLAKE2b under the key, a
pseudorandom function (one in 8). The first 512 KiB of each chunk are never looked at; a chunk without a border ends at 1 MiB.

So one byte that changes costs the chunk it lies in, on average some 650 KiB, and its neighbour where it makes or unmakes a border.
"""

import hashlib
from collections.abc import Callable

from orchestrai.vault.pieces.piece_compression import PIECE_BYTES

MIN_BYTES = 512 * 1024
MAX_BYTES = PIECE_BYTES
# files below are stored whole: what they share with an earlier version costs less than to look for it
CHUNKED_FROM = 16 * 1024 * 1024
_WINDOW = 64
_BLOCK = 128 * 1024
_FINE_BITS = 6
_LAST = 8
# of a content that repeats itself many borders are alike: after so many the chunk is as long as it may be
_TRIES = 64

Cut = Callable[[bytes | bytearray | memoryview], int]


def chunker(key: bytes) -> Cut:
    """What tells the length of the first chunk of some bytes: all there are from its start on, or at least MAX_BYTES.

    The same key and content give the same border, whatever lies before the chunk or behind it.
    """
    import numpy as np

    secret = hashlib.blake2b(key, person=b"chunk borders 1").digest()
    one, two = secret[0] | 1, secret[1] | 1
    # never 0: that is what the zeros of a sparse file give
    wanted = secret[2] or 77
    first, second = (np.uint64(int.from_bytes(secret[at : at + 8], "little") | 1) for at in (8, 16))
    last = secret[32:64]
    shift = np.uint64(64 - _FINE_BITS)
    work, sums, hits = np.empty(_BLOCK + 8, np.uint8), np.empty(_BLOCK + 8, np.uint8), np.empty(_BLOCK + 8, bool)

    def fine(data: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Of the places before which a border may lie, those that the second sieve lets pass."""
        windows = np.lib.stride_tricks.sliding_window_view(data, 16)[places - 16]
        words = np.ascontiguousarray(windows).view("<u8")
        mixed = (words[:, 0] * first) ^ ((words[:, 1] * second) >> np.uint64(7))
        passed: np.ndarray = places[(mixed * first) >> shift == 0]
        return passed

    def cut(content: bytes | bytearray | memoryview) -> int:
        view = memoryview(content)[:MAX_BYTES]
        if len(view) <= MIN_BYTES:
            return len(view)
        data, seen = np.frombuffer(view, np.uint8), set[bytes]()
        for start in range(MIN_BYTES, len(view), _BLOCK):
            end = min(start + _BLOCK, len(view))
            # place p is a border when the bytes before it say so
            part, count = data[start - 4 : end - 1], end - start
            np.multiply(part[: count + 2], one, out=work[: count + 2])
            np.add(work[: count + 2], part[1 : count + 3], out=work[: count + 2])
            np.multiply(work[:count], two, out=sums[:count])
            np.add(sums[:count], work[2 : count + 2], out=sums[:count])
            np.equal(sums[:count], wanted, out=hits[:count])
            places = np.flatnonzero(hits[:count]) + start
            if not len(places):
                continue
            for place in fine(data, places):
                window = bytes(view[place - _WINDOW : place])
                if window in seen:
                    continue
                if hashlib.blake2b(window, key=last, digest_size=1).digest()[0] % _LAST == 0:
                    return int(place)
                seen.add(window)
                if len(seen) >= _TRIES:
                    return len(view)
        return len(view)

    return cut
