"""The dossier of one model: data, gates, gaps, decisions, evaluation, backups and retention, from verified records alone.

Sections refer to what the EU AI Act (Regulation 2024/1689) asks to be documented in annex IV and recorded by article 12. They say where
to look, and claim no compliance. What no record says is told as not declared or not recorded.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrai.errors import ObjectNotFound
from orchestrai.ledger.decisions.skips import skips_in
from orchestrai.ledger.receipt import Receipt
from orchestrai.provenance.audit_trail import Event, trail
from orchestrai.provenance.lineage import Step, use_of, walk
from orchestrai.provenance.verified_records import Records

NOT_DECLARED, NOT_RECORDED = "not declared", "not recorded"
# what people do, among the actions of the trail; the rest is what stages publish
_DECISIONS = (
    "override", "skip", "lift", "rollback", "drop", "recall", "erasure", "retraining request", "move", "rename", "forget", "champion",
)  # fmt: skip
_DATA = ("raw_events", "snapshot", "restored", "features")
Row = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows under a caption; `columns` are their names."""

    caption: str
    columns: Row
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Section:
    """One heading: what it refers to, single facts, tables."""

    id: str
    title: str
    refers: str
    facts: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True)
class Dossier:
    """Everything of one version of a model; `pictures` are PNG files by name, as its evaluation published them."""

    asset: str
    version: str
    sections: tuple[Section, ...]
    pictures: Mapping[str, bytes] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The same for programs; pictures by their names alone."""
        return {
            "asset": self.asset,
            "version": self.version,
            "claims": "none: where to look, not whether it suffices",
            "sections": [
                {
                    "id": section.id,
                    "title": section.title,
                    "refers": section.refers,
                    "facts": dict(section.facts),
                    "tables": [
                        {"caption": t.caption, "rows": [dict(zip(t.columns, row, strict=True)) for row in t.rows]}
                        for t in section.tables
                    ],
                }
                for section in self.sections
            ],
            "pictures": sorted(self.pictures),
        }


def dossier(records: Records, asset: str, version: str | None = None) -> Dossier:
    """The dossier of a model at a version (default: the newest), without pictures; raises NotReceipted, IntegrityError."""
    steps = walk(records, use_of(records, asset, version))
    events = [event for event in trail(records) if event.action in _DECISIONS]
    sections = (
        _general(records, steps),
        _development(steps),
        _sources(records, steps),
        _gates(steps),
        _gaps(records, steps),
        _evaluation(steps),
        _decisions(steps, events),
        _backups(records, steps),
        _retention(records, steps, events),
    )
    return Dossier(steps[0].use.asset, steps[0].use.version, sections)


def evaluation_of(steps: Sequence[Step]) -> Step | None:
    """The step that judged the model."""
    return next((step for step in steps if step.use.stage == "evaluation"), None)


def _newest(step: Step | None) -> Receipt | None:
    return max(step.receipts.values(), key=lambda receipt: receipt.finished, default=None) if step is not None else None


def _facts(steps: Sequence[Step], name: str) -> Any:
    """The first step's newest receipt that has a fact; None where none has."""
    newest = (_newest(step) for step in steps)
    return next((receipt.facts[name] for receipt in newest if receipt is not None and receipt.facts.get(name)), None)


def _general(records: Records, steps: Sequence[Step]) -> Section:
    root = steps[0]
    card = _facts(steps, "card") or {}
    files = [file for entry in root.use.entries.values() for file in records.files(root.use.asset, entry).files]
    newest = _newest(root)
    return Section(
        "general",
        "General description",
        "annex IV 1",
        (
            ("model", root.use.asset),
            ("version", root.use.version),
            ("task", str(_facts(steps, "task") or NOT_RECORDED)),
            ("intended use", str(card.get("intended_use", NOT_DECLARED))),
            ("limits", str(card.get("limits", NOT_DECLARED))),
            ("owner", str(card.get("owner", NOT_DECLARED))),
            ("contact", str(card.get("contact", NOT_DECLARED))),
            ("published", newest.finished if newest is not None else NOT_RECORDED),
        ),
        (Table("Files", ("file", "bytes", "sha256"), tuple((file.path, f"{file.size:,}", file.sha256) for file in files)),),
    )


def _development(steps: Sequence[Step]) -> Section:
    rows = []
    for step in steps:
        newest = _newest(step)
        if newest is not None:
            codes = ", ".join(sorted({r.code_version for r in step.receipts.values() if r.code_version}))
            rows.append((step.use.asset, step.use.version, newest.finished, codes or NOT_RECORDED))
    candidate = _newest(next((step for step in steps if step.use.stage == "candidate"), None))
    recipe = candidate.parameters.get("recipe") if candidate is not None else None
    estimator = recipe.get("estimator") if isinstance(recipe, Mapping) else None
    libraries = _facts(steps, "libraries") or {}
    columns = _facts([step for step in steps if step.use.stage == "training_set"], "columns") or {}
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


def _sources(records: Records, steps: Sequence[Step]) -> Section:
    from orchestrai.provenance.export.openlineage_facets import DatasetFacets

    rows, columns, facets = [], [], DatasetFacets(records)
    for step in steps:
        newest = _newest(step)
        if step.use.stage != "raw_events" or newest is None:
            continue
        objects = {(m.uri, m.sha256): m for m in step.materials}
        keys = sorted(step.use.entries)
        contract = (
            f"{newest.parameters.get('contract', NOT_RECORDED)} {newest.parameters.get('contract_version', '')}".strip()
        )
        places = sorted({m.uri.rpartition("/")[0] for m in step.materials})
        rows.append(
            (
                step.use.asset,
                ", ".join(places[:3]) + (f" and {len(places) - 3} more" if len(places) > 3 else ""),
                f"{len(objects):,}",
                f"{sum(m.size for m in objects.values()):,}",
                f"{sum(entry.rows for entry in step.use.entries.values()):,}",
                f"{keys[0]} to {keys[-1]} ({len(keys):,})",
                contract,
            )
        )
        for column in facets.contract(newest):
            rules = [name for name in ("required", "unique", "tokenise") if column.get(name)]
            rules += [f"{name} {column[name]}" for name in ("minimum", "maximum", "pattern") if column.get(name) is not None]
            personal = str(column.get("classification") or "")
            columns.append((step.use.asset, str(column["name"]), str(column["type"]), ", ".join(rules), personal))
    return Section(
        "sources",
        "Data and its origin",
        "annex IV 2 (d), article 10",
        tables=(
            Table("Landed data", ("dataset", "from", "objects", "bytes", "rows", "partitions", "contract"), tuple(rows)),
            Table("Columns by contract", ("dataset", "column", "type", "rules", "classification"), tuple(columns)),
        ),
    )


def _gates(steps: Sequence[Step]) -> Section:
    counts: dict[tuple[str, str], Counter[str]] = {}
    odd: list[Row] = []
    for step in steps:
        for key, entry in sorted(step.use.entries.items()):
            receipt = step.receipts[entry.receipt]
            override = receipt.override(key)
            for verdict in receipt.verdicts.get(key, ()):
                waived = override is not None and verdict.closes_gate
                outcome = "passed" if verdict.passed else "waived by a person" if waived else "warned"
                counts.setdefault((step.use.asset, verdict.check), Counter())[outcome] += 1
                if not verdict.passed:
                    odd.append((f"{step.use.asset}@{key}", verdict.check, outcome, verdict.message))
    outcomes = ("passed", "warned", "waived by a person")
    rows = (
        (asset, check, *(f"{count[outcome]:,}" for outcome in outcomes)) for (asset, check), count in sorted(counts.items())
    )
    return Section(
        "gates",
        "Quality gates",
        "annex IV 2 (g), article 10 (2)",
        tables=(
            Table("Verdicts by check", ("asset", "check", *outcomes), tuple(rows)),
            Table("Verdicts that did not pass", ("partition", "check", "outcome", "what it said"), tuple(odd)),
        ),
    )


def _gaps(records: Records, steps: Sequence[Step]) -> Section:
    assets = {step.use.asset for step in steps}
    skips = tuple(
        (f"{skip.asset}@{skip.partition}", skip.by, skip.time, skip.reason)
        for skip in skips_in(records.store, records.keyring).of("")
        if skip.asset in assets
    )
    incomplete = _facts([step for step in steps if step.use.stage == "training_set"], "incomplete") or {}
    letters = sum(
        int(count)
        for step in steps
        for receipt in step.receipts.values()
        if isinstance(count := receipt.facts.get("dead_letters"), int)
    )
    lacking = incomplete.get("lacking") or {}
    return Section(
        "gaps",
        "What the data lacks",
        "annex IV 2 (d), article 10 (2) (h)",
        (
            ("rows refused as dead letters", f"{letters:,}"),
            ("rows whose windows lack partitions", f"{incomplete.get('windows', 0):,}"),
            ("what became of them", str(incomplete.get("windows_were", "nothing to decide"))),
            ("rows whose label's horizon lacks partitions, left out", f"{incomplete.get('horizons_left_out', 0):,}"),
        ),
        (
            Table("Partitions that lack", ("partition", "why"), tuple((k, str(v)) for k, v in sorted(lacking.items()))),
            Table("Partitions that a person left out", ("partition", "who", "when", "why"), skips),
        ),
    )


def _evaluation(steps: Sequence[Step]) -> Section:
    judged = _newest(evaluation_of(steps))
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


def _decisions(steps: Sequence[Step], events: Iterable[Event]) -> Section:
    assets = {step.use.asset for step in steps}
    subjects = assets | {asset.rsplit("/", 1)[0] for asset in assets}
    # recalls, erasures and renames name what they reach in their own words: all are shown
    everywhere = ("recall", "erasure", "retraining request", "rename", "move")
    rows = (
        (event.time, event.action, event.subject, event.who, event.what, event.why)
        for event in events
        if event.action != "forget" and (event.subject in subjects or event.action in everywhere)
    )
    return Section(
        "decisions",
        "Decisions by people, and promotions",
        "article 14, article 12",
        tables=(Table("In order of time", ("when", "what", "of", "who", "which", "why"), tuple(rows)),),
    )


def _backups(records: Records, steps: Sequence[Step]) -> Section:
    rows = []
    for step in steps:
        if step.use.stage == "snapshot":
            receipts = sorted(step.receipts.values(), key=lambda receipt: receipt.finished)
            moments = [str(receipt.facts.get("committed", receipt.finished)) for receipt in receipts]
            sealed = {bool(receipt.facts.get("encrypted")) for receipt in receipts}
            rows.append(
                (
                    step.use.asset,
                    f"{len(receipts):,}",
                    moments[0],
                    moments[-1],
                    "sealed" if sealed == {True} else "plain" if sealed == {False} else "both",
                    ", ".join(sorted({str(receipt.facts.get("vault", NOT_RECORDED)) for receipt in receipts})),
                )
            )
    restored = [
        (step.use.asset, f"{len(step.receipts):,}", f"{max(seconds):.2f}", f"{len(step.use.entries):,}")
        for step in steps
        if step.use.stage == "restored"
        and (seconds := [float(str(r.facts["rto_seconds"])) for r in step.receipts.values() if "rto_seconds" in r.facts])
    ]
    tally = records.tally
    return Section(
        "backups",
        "Backups and proof",
        "article 12, annex IV 2 (d)",
        (
            ("records whose signature was checked for this page", f"{tally.signatures:,}"),
            ("records whose hash was checked", f"{tally.hashes:,}"),
            ("Merkle roots computed again", f"{tally.roots:,}"),
        ),
        (
            Table(
                "Snapshots that it learned from",
                ("dataset", "snapshots", "first", "last", "at rest", "vault"),
                tuple(rows),
            ),
            Table(
                "Restores that it learned from: each byte was hashed on the way",
                ("dataset", "restores", "longest, seconds", "partitions"),
                tuple(restored),
            ),
        ),
    )


def _retention(records: Records, steps: Sequence[Step], events: Iterable[Event]) -> Section:
    datasets = {str(r.facts["dataset"]) for step in steps for r in step.receipts.values() if "dataset" in r.facts}
    forgotten = tuple((e.time, e.subject, e.what, e.why) for e in events if e.action == "forget" and e.subject in datasets)
    erased = tuple((e.time, e.what, e.who, e.why) for e in events if e.action == "erasure")
    return Section(
        "retention",
        "Retention and erasure",
        "article 18, GDPR article 17",
        tables=(
            Table("Snapshots that were forgotten since", ("when", "dataset", "which", "why"), forgotten),
            Table("Legal holds that are on", ("dataset", "since", "why"), tuple(_held(records, datasets))),
            Table("Erasures of persons in this house", ("when", "reached", "who", "why"), erased),
        ),
    )


def _held(records: Records, datasets: Iterable[str]) -> Iterator[Row]:
    from orchestrai.vault.format.layout import IDENTITY
    from orchestrai.vault.format.records import IDENTITY_TYPE, document
    from orchestrai.vault.lifecycle.hold_records import holds

    try:
        vault = str(document(records.keyring, IDENTITY_TYPE, records.store.read(IDENTITY))["vault"])
    except ObjectNotFound:
        return  # a lake, which holds no holds
    for (dataset, seq), hold in sorted(holds(records.store, records.keyring, vault).items()):
        if dataset in datasets:
            yield f"{dataset}{f' snapshot {seq}' if seq else ''}", hold.placed, hold.reason
