"""Sections of a dossier about the model itself: what it is, how it was made, how it was judged, and how its data moved since."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrai.ledger.receipt import Receipt
from orchestrai.provenance.export.dossier.dossier_parts import (
    NOT_DECLARED,
    NOT_RECORDED,
    Row,
    Section,
    Table,
    evaluation_of,
    fact_of,
    newest_receipt,
)
from orchestrai.provenance.lineage import Step
from orchestrai.provenance.verified_records import Records

DRIFT = "feature_drift"


def general(records: Records, steps: Sequence[Step]) -> Section:
    root = steps[0]
    card = fact_of(steps, "card") or {}
    files = [file for entry in root.use.entries.values() for file in records.files(root.use.asset, entry).files]
    newest = newest_receipt(root)
    return Section(
        "general",
        "General description",
        "annex IV 1",
        (
            ("model", root.use.asset),
            ("version", root.use.version),
            ("task", str(fact_of(steps, "task") or NOT_RECORDED)),
            ("intended use", str(card.get("intended_use", NOT_DECLARED))),
            ("limits", str(card.get("limits", NOT_DECLARED))),
            ("owner", str(card.get("owner", NOT_DECLARED))),
            ("contact", str(card.get("contact", NOT_DECLARED))),
            ("published", newest.finished if newest is not None else NOT_RECORDED),
        ),
        (Table("Files", ("file", "bytes", "sha256"), tuple((file.path, f"{file.size:,}", file.sha256) for file in files)),),
    )


def development(steps: Sequence[Step]) -> Section:
    rows = []
    for step in steps:
        newest = newest_receipt(step)
        if newest is not None:
            codes = ", ".join(sorted({r.code_version for r in step.receipts.values() if r.code_version}))
            rows.append((step.use.asset, step.use.version, newest.finished, codes or NOT_RECORDED))
    candidate = newest_receipt(next((step for step in steps if step.use.stage == "candidate"), None))
    recipe = candidate.parameters.get("recipe") if candidate is not None else None
    estimator = recipe.get("estimator") if isinstance(recipe, Mapping) else None
    libraries = fact_of(steps, "libraries") or {}
    columns = fact_of([step for step in steps if step.use.stage == "training_set"], "columns") or {}
    return Section(
        "development",
        "How it was made",
        "annex IV 2 (a) to (c)",
        (("libraries", ", ".join(f"{name} {version}" for name, version in sorted(libraries.items())) or NOT_RECORDED),),
        (
            Table("Steps, newest first", ("asset", "version", "finished", "code"), tuple(rows)),
            Table("Parameters of the estimator", ("parameter", "value"), tuple(_flat(estimator))),
            Table(
                "What each column of the training set comes from",
                ("column", "type", "from"),
                tuple(
                    (name, str(column.get("type", "")), ", ".join(".".join(source) for source in column.get("from", ())))
                    for name, column in sorted(columns.items())
                ),
            ),
        ),
    )


def _flat(value: Any, name: str = "") -> Iterator[Row]:
    if isinstance(value, Mapping):
        for key, item in sorted(value.items()):
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    elif value is not None:
        yield name, str(value)


def evaluation(steps: Sequence[Step]) -> Section:
    judged = newest_receipt(evaluation_of(steps))
    facts = judged.facts if judged is not None else {}
    named = {
        "model": "metrics",
        "champion then": "champion_metrics",
        "baseline": "baseline_metrics",
        "naive": "naive_metrics",
    }
    measured = {who: found for who, name in named.items() if isinstance(found := facts.get(name), Mapping)}
    rows = tuple(
        (metric, *(_figure(measured[who].get(metric)) for who in measured)) for metric in sorted(measured.get("model", {}))
    )
    verdicts = [verdict for judgements in (judged.verdicts.values() if judged else ()) for verdict in judgements]
    drifted = next((v.details.get("psi") for v in verdicts if v.check == "feature_drift"), None)
    promotion = facts.get("promotion")
    decision = str(promotion.get("message", NOT_RECORDED)) if isinstance(promotion, Mapping) else NOT_RECORDED
    moved = tuple((name, str(psi)) for name, psi in sorted(drifted.items())) if isinstance(drifted, Mapping) else ()
    return Section(
        "evaluation",
        "Evaluation",
        "annex IV 2 (g), 3 and 4, article 15",
        (("rows held out", f"{facts.get('rows', 0):,}"), ("promotion", decision)),
        (
            Table("Metrics on held-out rows, value (95 % interval)", ("metric", *measured), rows),
            Table(
                "Verdicts on the model",
                ("check", "passed", "what it said"),
                tuple((v.check, "yes" if v.passed else "no", v.message) for v in verdicts),
            ),
            Table("Drift since the champion before, population stability index", ("feature", "index"), moved),
        ),
    )


def _figure(metric: Any) -> str:
    if not isinstance(metric, Mapping):
        return ""
    return f"{metric['value']:.4f} ({metric['low']:.4f} to {metric['high']:.4f})"


def drift_since(records: Records, steps: Sequence[Step]) -> Section:
    """What later runs found of the features against those that this version learned from, oldest first."""
    root = steps[0].use
    prefix = root.asset.rpartition("/")[0]
    rows = [
        (
            receipt.finished,
            receipt.asset,
            "no" if verdict.passed else "yes",
            *_largest(verdict.details.get("psi")),
            verdict.message,
        )
        for receipt in _compared_with(records, prefix, f"{prefix}/champion", root.version)
        for verdicts in receipt.verdicts.values()
        for verdict in verdicts
        if verdict.check == DRIFT
    ]
    moved = sum(row[2] == "yes" for row in rows)
    last = rows[-1][0] if rows else NOT_RECORDED
    return Section(
        "drift",
        "Drift since it was promoted",
        "annex IV 3, article 72",
        (("looked at", f"{len(rows):,} times"), ("features had moved", f"{moved:,} times"), ("last", last)),
        (
            Table(
                "By predictions and by evaluations of its successors",
                ("when", "by", "moved", "feature that moved most", "population stability index", "what it said"),
                tuple(rows),
            ),
        ),
    )


def _compared_with(records: Records, prefix: str, champion: str, version: str) -> Iterator[Receipt]:
    """The receipts of runs that had this version as the champion, in order of time."""
    found: dict[str, Receipt] = {}
    for asset in sorted({f"{prefix}/predictions", f"{prefix}/evaluation"} & set(records.assets())):
        for head in records.log(asset):
            receipt = records.receipt(head.receipt)
            if any((one.asset, one.version) == (champion, version) for one in receipt.inputs):
                found[head.receipt] = receipt
    yield from sorted(found.values(), key=lambda receipt: (receipt.finished, receipt.asset))


def _largest(moved: Any) -> tuple[str, str]:
    if not isinstance(moved, Mapping) or not moved:
        return "", ""
    name = max(sorted(moved), key=lambda feature: float(moved[feature]))
    return str(name), f"{float(moved[name]):.4f}"
