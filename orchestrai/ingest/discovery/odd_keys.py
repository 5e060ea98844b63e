"""Keys that no dataset can keep: each is a finding about one object, never the end of a listing.

The verdict is the same whatever store the object lies in, so that a landing that moves keeps its dead letters.
"""

import re

from orchestrai.errors import InvalidKey
from orchestrai.storage.base import ObjectInfo, check_key

# line ends and the like forge lines of logs and lists; lone surrogates stand for bytes that are no UTF-8
_UNHOLDABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def odd_key(info: ObjectInfo) -> str | None:
    """Why nothing can be kept under the key of a listed object; None for a plain one."""
    if info.odd is not None:
        return info.odd
    if _UNHOLDABLE.search(info.key):
        return f"expected a key of UTF-8 without control characters, found {shown(info.key)!r}: rename the object"
    try:
        check_key(info.key)
    except InvalidKey as exc:
        return exc.message
    return None


def shown(key: str) -> str:
    """A key as text that any file and terminal takes: bytes that are no UTF-8 by their numbers."""
    if key.isascii():
        return key
    try:
        raw = key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raw = key.encode("utf-8", "backslashreplace")
    return raw.decode("utf-8", "backslashreplace")
