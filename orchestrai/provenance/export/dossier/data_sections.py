"""Sections of a dossier about the data: where it came from, what its gates said, what it lacks."""

from collections import Counter
from collections.abc import Sequence

from orchestrai.ledger.decisions.skips import skips_in
from orchestrai.provenance.export.dossier.dossier_parts import NOT_RECORDED, Row, Section, Table, fact_of, newest_receipt
from orchestrai.provenance.lineage import Step
from orchestrai.provenance.verified_records import Records


def sources(records: Records, steps: Sequence[Step]) -> Section:
    from orchestrai.provenance.export.openlineage_facets import DatasetFacets

    rows, columns, facets = [], [], DatasetFacets(records)
    for step in steps:
        newest = newest_receipt(step)
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


def gates(steps: Sequence[Step]) -> Section:
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


def gaps(records: Records, steps: Sequence[Step]) -> Section:
    assets = {step.use.asset for step in steps}
    skips = tuple(
        (f"{skip.asset}@{skip.partition}", skip.by, skip.time, skip.reason)
        for skip in skips_in(records.store, records.keyring).of("")
        if skip.asset in assets
    )
    incomplete = fact_of([step for step in steps if step.use.stage == "training_set"], "incomplete") or {}
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
