"""The stage of a pulled vault: what is new is copied and proven, and what is not as it was pulled before is told.

The copy's own state lies in the copy, signed by this home's key; what is published here is what each run found.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from orchestrai.backup.airgap.pulled_vault import PulledVaultNode
from orchestrai.core.canonical import JsonValue, canonical_json
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import WHOLE
from orchestrai.core.verdict import CheckInfo, Verdict
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.ledger.signing import Keyring
from orchestrai.stage.context import RunContext
from orchestrai.stage.stage import AssetNode, Stage
from orchestrai.vault.vault import Vault

if TYPE_CHECKING:
    from orchestrai.vault.pull.pull import PullReport

PRODUCER = Producer("pull", __name__)
PULLED = "pulled"
CHECKS = (CheckInfo(PULLED, False, "The vault is what was pulled before and more, and all of it was taken."),)
# so many findings are named in the facts; the record has all
NAMED = 20


def _run(context: RunContext, node: AssetNode[PulledVaultNode], partitions: Sequence[str]) -> StageReport:
    """Pull, publish; what is not right is a failed check, and the copy stays as it is there. Raises OrchestraiError."""
    from orchestrai.storage.url import open_store
    from orchestrai.vault.pull.pull import Pull, PullTerms

    spec = node.subject.spec
    with Meter() as meter:
        session = context.ledger.session(node.asset, PRODUCER)
        primary = _opened(context, spec.source, spec.root)
        terms = PullTerms(spec.keep_forgotten, spec.lock or timedelta())
        report = Pull(primary, open_store(spec.to), terms, context.progress).run()
        told = report.as_json()
        # what was new is a fact of the run: where nothing is wrong, the record stays as it is while the vault grows
        record: dict[str, JsonValue] = {name: told[name] for name in ("vault", "source", "target", "findings")}
        session.add_bytes(WHOLE, "pull.json", canonical_json(record), rows=1)
        meter.read = report.bytes
    facts: dict[str, JsonValue] = {**told, "findings": [*told["findings"]][:NAMED]}  # type: ignore[misc]
    return session.commit({WHOLE: [_verdict(report)]}, cost=meter.cost(), facts=facts)


def _opened(context: RunContext, url: str, root: str) -> Vault:
    """The vault of the other account, which can be read alone, under the keys that its root names."""
    from orchestrai.ledger.trust.key_rules import governed
    from orchestrai.storage.url import open_store
    from orchestrai.vault.protection import is_sealed, open_vault
    from orchestrai.vault.replica.read_only_store import ReadOnlyStore
    from orchestrai.vault.vault_store import identity_record

    store = ReadOnlyStore(open_store(url))
    folder, signer = context.settings.key_folder, context.ledger.signer
    keyring = governed(store, Keyring({}), folder=folder, root=root)
    sealing = None
    if identity_record(store) is not None and is_sealed(store, keyring):
        sealing = open_vault(Ledger(store, signer, keyring, vault=store), folder, lambda: False).encryption
    return Vault(store, signer, keyring, encryption=sealing)


def _verdict(report: "PullReport") -> Verdict:
    if report.ok:
        return Verdict(
            PULLED, True, f"{report.snapshots} snapshots, {report.objects} objects, {report.bytes:,} bytes are new"
        )
    first = report.findings[0]
    message = f"{len(report.findings)} not as pulled before, or not right; first {first.kind} {first.key}: {first.problem}"
    return Verdict(PULLED, False, message, "warn")


PULL: Stage[PulledVaultNode] = Stage(
    "pull",
    ("pulled_vault",),
    "A vault of another account, read and proven into a copy that its writers do not know; what was pulled is kept whatever becomes of it.",
    frozenset({"vault"}),
    PRODUCER,
    _run,
    checks=lambda vault: CHECKS,
    role="mend",
    red=True,
)
