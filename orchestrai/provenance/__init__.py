"""Provenance, across all stages: trace, verify, recall, rebuild, reproduce, erase, audit, export."""

from typing import TYPE_CHECKING

from orchestrai.lazy import lazily

if TYPE_CHECKING:
    from orchestrai.provenance.audit import Audit, audit
    from orchestrai.provenance.erasure import Erasure, erase, plan_erasure, read_erasures
    from orchestrai.provenance.export import export
    from orchestrai.provenance.index import Derivation, ReceiptIndex
    from orchestrai.provenance.page import trace_html
    from orchestrai.provenance.rebuild import Rebuilt, Recovered, rebuild, recover_bytes
    from orchestrai.provenance.recall import ChampionMove, Reach, RecallPlan, apply_recall, plan_recall, recall
    from orchestrai.provenance.render import trace_text
    from orchestrai.provenance.reproduce import Reproduction, StageComparison, reproduce
    from orchestrai.provenance.trace import Trace, TraceNode, trace
    from orchestrai.provenance.verification import Check, Problem, Verification
    from orchestrai.provenance.verify import verify_model

__all__ = [
    "Audit",
    "ChampionMove",
    "Check",
    "Derivation",
    "Erasure",
    "Problem",
    "Reach",
    "Rebuilt",
    "RecallPlan",
    "ReceiptIndex",
    "Recovered",
    "Reproduction",
    "StageComparison",
    "Trace",
    "TraceNode",
    "Verification",
    "apply_recall",
    "audit",
    "erase",
    "export",
    "plan_erasure",
    "plan_recall",
    "read_erasures",
    "rebuild",
    "recall",
    "recover_bytes",
    "reproduce",
    "trace",
    "trace_html",
    "trace_text",
    "verify_model",
]

lazily(
    __name__,
    {
        "audit": ("Audit", "audit"),
        "erasure": ("Erasure", "erase", "plan_erasure", "read_erasures"),
        "export": ("export",),
        "index": ("Derivation", "ReceiptIndex"),
        "page": ("trace_html",),
        "rebuild": ("Rebuilt", "Recovered", "rebuild", "recover_bytes"),
        "recall": ("ChampionMove", "Reach", "RecallPlan", "apply_recall", "plan_recall", "recall"),
        "render": ("trace_text",),
        "reproduce": ("Reproduction", "StageComparison", "reproduce"),
        "trace": ("Trace", "TraceNode", "trace"),
        "verification": ("Check", "Problem", "Verification"),
        "verify": ("verify_model",),
    },
)
