"""Which role a key needs for which kind of record, and which kinds may need several signatures."""

import json

from orchestrai.ledger.trust.key_log import ROLES

_CHAIN = "application/vnd.orchestrai.snapshot+json"
_HOLD = "application/vnd.orchestrai.hold+json"
_TOMBSTONE = "application/vnd.orchestrai.tombstone+json"
_ERASURE = "application/vnd.orchestrai.erasure+json"
# what people decide; all else that is not named here is written by writers
_DECIDED = frozenset(
    f"application/vnd.orchestrai.{kind}+json" for kind in ("recall", "erasure", "retraining", "skip", "void-head")
)
_ROLE_OF = {_TOMBSTONE: frozenset({"prune"})} | dict.fromkeys(_DECIDED, frozenset({"decide"}))
_NOTE_ROLES = {"fence": frozenset({"prune"}), "hold": frozenset({"write", "release"}), "opened": frozenset(ROLES)}
# an anchor is guarded by the place where it lies, and is of use longer than the key that signed it; so is a witness
UNBOUND = frozenset(f"application/vnd.orchestrai.{kind}+json" for kind in ("anchor", "witness"))


def asked(payload_type: str, payload: bytes) -> tuple[frozenset[str], str]:
    """The roles of which a key must have one to sign a record, and the approval that the record may need."""
    roles, approval = _ROLE_OF.get(payload_type, frozenset({"write"})), ""
    if payload_type == _TOMBSTONE:
        approval = "forget"
    elif payload_type == _ERASURE:
        approval = "erase"
    elif payload_type == _CHAIN:
        roles = _NOTE_ROLES.get(json.loads(payload).get("kind", ""), roles)
    elif payload_type == _HOLD:
        on = bool(json.loads(payload)["on"])
        roles, approval = frozenset({"write", "release"}) if on else frozenset({"release"}), "" if on else "release"
    elif payload_type in UNBOUND:
        roles = frozenset(ROLES)
    return roles, approval
