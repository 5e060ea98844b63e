"""Provenance, across all stages: trace, verify, recall, rebuild, reproduce, erase, audit, export."""

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
