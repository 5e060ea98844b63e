"""Moves of several assets that count together or not at all (standing.py has what readers need of it).

Whoever wants to publish after an undecided entry aborts its transaction first, so that a writer that died or sleeps holds up nobody.
"""

from datetime import UTC

from orchestrai.errors import ConcurrentCommit, IntegrityError
from orchestrai.ledger.decisions.standing import TRANSACTIONS, Decision
from orchestrai.ledger.log import Log
from orchestrai.storage.base import put_absent


def decide(log: Log, decision: Decision) -> Decision:
    """Put a decision where none is yet; returns the one that counts."""
    key = TRANSACTIONS.key(decision.id)
    envelope = TRANSACTIONS.put([log.lake], log.signer, decision)
    log.lake.sync()
    if log.vault is not None:
        put_absent(log.vault, key, envelope)
    standing = TRANSACTIONS.find(log.lake, log.keyring, decision.id)
    if standing is None:
        raise IntegrityError(f"expected the decision {key} just written, found none: check the lake {log.lake.url}")
    return standing


class Transaction:
    """Collects the entries of several sessions (`commit(transaction=...)`), which readers see all at once after `commit`."""

    def __init__(self, log: Log, reason: str = "") -> None:
        self.log, self.reason = log, reason
        self.id = log.new_id()
        self.heads: dict[str, str] = {}

    def commit(self) -> None:
        """Make every entry count; raises ConcurrentCommit when another writer went ahead, and nothing counts then."""
        if not self.heads:
            return
        now = self.log.clock().astimezone(UTC).isoformat()
        if decide(self.log, Decision(self.id, "commit", self.heads, self.reason, now)).outcome != "commit":
            raise ConcurrentCommit(
                f"expected to move {', '.join(sorted(self.heads))} together, found one of them published meanwhile: nothing was "
                "moved, plan again"
            )
        self.log.forget()
