"""Heal the vault and its declared replicas as declared, and publish what was wrong, what was mended and what is left."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrai.backup.checks import HEAL_CHECKS
from orchestrai.backup.subjects import VaultNode
from orchestrai.core.canonical import JsonValue, canonical_json
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import WHOLE
from orchestrai.core.verdict import Verdict
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.ledger.signing import Keyring
from orchestrai.stage.context import RunContext
from orchestrai.stage.stage import AssetNode, Stage
from orchestrai.storage.base import Store
from orchestrai.vault.format.layout import ROOT
from orchestrai.vault.vault import Vault

if TYPE_CHECKING:
    from orchestrai.vault.heal.heal import HealPlan, HealReport

PRODUCER = Producer("heal", __name__)
# so many objects are named in the facts; the record has all
NAMED = 20


def _run(context: RunContext, node: AssetNode[VaultNode], partitions: Sequence[str]) -> StageReport:
    """Compare, mend where every backup that has a replica allows it, publish; what is wrong is a failed check, not an error."""
    from orchestrai.storage.url import open_within_limits
    from orchestrai.vault.heal.heal import Healing
    from orchestrai.vault.protection import anchor_of, open_vault, replicas_of

    ledger, settings = context.ledger, context.settings
    apply = all(spec.heal == "apply" for spec in node.subject.backups)
    replicas = [open_within_limits(url, settings) for url in replicas_of(node.subject.backups, settings)]
    stores = [context.port(Vault).store, *replicas]

    def opened(store: Store, keyring: Keyring) -> Vault:
        return open_vault(ledger, settings.key_folder, lambda: False, store, keyring)

    with Meter() as meter:
        session = ledger.session(node.asset, PRODUCER)
        plan, report = None, None
        if any(next(iter(store.list(ROOT)), None) for store in stores):
            healing = Healing(stores, ledger.keyring, opened, anchor_of(settings))
            plan = healing.plan(progress=context.progress)
            report = healing.apply(plan, context.progress) if apply else None
        record: dict[str, JsonValue] = {"copies": [store.url for store in stores]}
        record |= _wrong(plan) | {"failed": [item.as_json() for item in (report.failed if report else ())]}
        session.add_bytes(WHOLE, "heal.json", canonical_json(record), rows=1)
        meter.read = plan.bytes if plan else 0
    return session.commit({WHOLE: _verdicts(plan, report)}, cost=meter.cost(), facts=_facts(stores, plan, report))


def _verdicts(plan: "HealPlan | None", report: "HealReport | None") -> list[Verdict]:
    if plan is None:
        return [Verdict(check.name, True, "nothing was backed up yet", "warn") for check in HEAL_CHECKS]
    mended, left = _counts(plan, report)
    waiting = f", {left} left: run `orchestrai vault heal --apply`" if left else ""
    lost = f"in no copy: {len(plan.lost)} objects, first {plan.lost[0].key}" if plan.lost else "each is right in a copy"
    apart = [f"{newer.log} from {newer.first} on" for newer in plan.newer] + [item.key for item in plan.unmended]
    differing = f"see `orchestrai vault heal`: {', '.join(apart[:3])}" if apart else "the copies agree"
    return [
        Verdict("copies", not left, f"{mended} mended{waiting}", "warn"),
        Verdict("lost", not plan.lost, lost, "warn"),
        Verdict("apart", not apart, differing, "warn"),
    ]


def _counts(plan: "HealPlan", report: "HealReport | None") -> tuple[int, int]:
    """How many wrong objects were mended, and how many were not."""
    failed = {(item.copy, item.key) for item in report.failed} if report else set()
    left = [mend for mend in plan.wrong if report is None or (mend.copy.name, mend.key) in failed]
    return len(plan.wrong) - len(left), len(left)


def _wrong(plan: "HealPlan | None") -> dict[str, JsonValue]:
    """What was wrong: where nothing is, the record stays as it is while the vault grows, and nothing new is published."""
    body = plan.as_json() if plan else {}
    named: dict[str, JsonValue] = {name: body[name] for name in ("newer", "unmended", "lost") if name in body}
    return named | {"wrong": [mend.as_json() for mend in (plan.wrong if plan else ())]}


def _facts(stores: Sequence[Store], plan: "HealPlan | None", report: "HealReport | None") -> dict[str, JsonValue]:
    mended, left = _counts(plan, report) if plan else (0, 0)
    return {
        "copies": [store.url for store in stores],
        "snapshots": plan.snapshots if plan else 0,
        "bytes_read": plan.bytes if plan else 0,
        "wrong": mended + left,
        "wrong_in": {store.url: sum(mend.copy.store.url == store.url for mend in plan.wrong) for store in stores}
        if plan
        else {},
        "wrong_keys": [mend.key for mend in plan.wrong[:NAMED]] if plan else [],
        "mended": mended,
        "copied": sum(mend.behind for mend in plan.mends) if plan and report else 0,
        "lost": [item.key for item in plan.lost[:NAMED]] if plan else [],
    }


HEAL: Stage[VaultNode] = Stage(
    "heal",
    ("vault",),
    "The vault and its replicas compared byte for byte, and each mended from whichever copy proves right; nothing is deleted. "
    "What no copy has is named.",
    frozenset({"vault"}),
    PRODUCER,
    _run,
    checks=lambda vault: HEAL_CHECKS,
    role="mend",
    red=True,
)
