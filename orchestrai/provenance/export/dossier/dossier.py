"""The dossier of one model: data, gates, gaps, decisions, evaluation, backups and retention, from verified records alone.

Sections refer to what the EU AI Act (Regulation 2024/1689) asks to be documented in annex IV and recorded by article 12. They say where
to look, and claim no compliance. What no record says is told as not declared or not recorded.
"""

from orchestrai.provenance.audit_trail import trail
from orchestrai.provenance.export.dossier.data_sections import gaps, gates, sources
from orchestrai.provenance.export.dossier.dossier_parts import Dossier
from orchestrai.provenance.export.dossier.keeping_sections import backups, decisions, retention
from orchestrai.provenance.export.dossier.model_sections import development, drift_since, evaluation, general
from orchestrai.provenance.lineage import use_of, walk
from orchestrai.provenance.verified_records import Records

# what people do, among the actions of the trail; the rest is what stages publish
_DECISIONS = (
    "override", "skip", "lift", "rollback", "drop", "recall", "erasure", "retraining request", "move", "rename", "forget", "champion",
)  # fmt: skip


def dossier(records: Records, asset: str, version: str | None = None) -> Dossier:
    """The dossier of a model at a version (default: the newest), without pictures; raises NotReceipted, IntegrityError."""
    steps = walk(records, use_of(records, asset, version))
    events = [event for event in trail(records) if event.action in _DECISIONS]
    sections = (
        general(records, steps),
        development(steps),
        sources(records, steps),
        gates(steps),
        gaps(records, steps),
        evaluation(steps),
        drift_since(records, steps),
        decisions(steps, events),
        backups(records, steps),
        retention(records, steps, events),
    )
    return Dossier(steps[0].use.asset, steps[0].use.version, sections)
