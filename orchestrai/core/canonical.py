"""What JSON can say, its one spelling as bytes, and the digests over it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from orchestrai.core.tree import merkle

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]


def canonical_json(value: Any) -> bytes:
    """Encode a JSON value so that equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256_hex(data: bytes) -> str:
    """SHA-256 as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def dataset_version(roots: Mapping[str, str]) -> str:
    """The version of a dataset whose partitions have these roots."""
    leaves = [canonical_json([key, roots[key]]) for key in sorted(roots)]
    return "sha256:" + merkle.root(leaves).hex()
