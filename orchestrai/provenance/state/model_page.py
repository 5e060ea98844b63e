"""One version of a model as a page: where it comes from, whether its records hold, what it is worth, what a rebuild would take."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrai.core.html.frame import Extras, PageSection, page
from orchestrai.core.html.markup import Markup, element, joined
from orchestrai.core.html.parts import chips, command, facts, folded, note, paragraph, png_picture, size_of, table
from orchestrai.provenance.export.dossier.dossier_parts import Section, evaluation_of
from orchestrai.provenance.export.dossier.model_sections import development, drift_since, evaluation, general
from orchestrai.provenance.export.page import GRAPH_STYLE, graph, steps_details, steps_table, trace_chips
from orchestrai.provenance.lineage import Step, Use, take_step, use_of, walk
from orchestrai.provenance.lineage_cost import LineageCost, lineage_cost
from orchestrai.provenance.state.rebuild_need import RebuildNeed, rebuild_need
from orchestrai.provenance.today import Today
from orchestrai.provenance.trace import Trace, trace_records
from orchestrai.provenance.verified_records import Records
from orchestrai.provenance.verify.findings import Verification

LISTED = 200


@dataclass(frozen=True)
class ModelPage:
    """Everything of one version; `sections` are those of its dossier that tell of the model, `proof` what was verified when it was made.

    `proof` is None where there is no vault to hold it against; `pictures` are PNG files of its evaluation.
    """

    name: str
    trace: Trace
    sections: tuple[Section, ...]
    cost: LineageCost
    need: RebuildNeed
    proof: Verification | None = None
    pictures: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The version."""
        return self.trace.root.version

    def as_json(self) -> dict[str, Any]:
        """For `--json`; pictures by their names alone."""
        return {
            "name": self.name,
            "asset": self.trace.root.asset,
            "version": self.version,
            "trace": self.trace.as_json(),
            "facts": {section.id: dict(section.facts) for section in self.sections},
            "tables": {
                table.caption: [dict(zip(table.columns, row, strict=True)) for row in table.rows]
                for section in self.sections
                for table in section.tables
            },
            "proof": self.proof.as_json() if self.proof is not None else None,
            "cost": self.cost.as_json(),
            "rebuild": self.need.as_json(),
            "pictures": sorted(self.pictures),
        }


def model_page(records: Records, asset: str, version: str, today: Today | None = None) -> ModelPage:
    """Gather it from records alone, without proof and pictures; raises NotReceipted, IntegrityError."""
    steps = walk(records, use_of(records, asset, version))
    name = asset.rpartition("/")[0]
    judged = judged_by(records, steps)
    about = [*steps, judged] if judged is not None else steps
    sections = (general(records, steps), evaluation(about), development(steps), drift_since(records, steps))
    traced = trace_records(records, asset, version, today)
    return ModelPage(name, traced, sections, lineage_cost(records, asset, version), rebuild_need(name, records, steps))


def judged_by(records: Records, steps: Sequence[Step]) -> Step | None:
    """The evaluation of a version: that of its lineage, or of a candidate that serves nobody the newest which names it."""
    found = evaluation_of(steps)
    if found is not None:
        return found
    root = steps[0].use
    asset = f"{root.asset.rpartition('/')[0]}/evaluation"
    for head in reversed(records.log(asset)):
        if any(ref.version == root.version for ref in records.receipt(head.receipt).inputs):
            return take_step(records, Use(asset, records.entries(head)))
    return None


def model_html(told: ModelPage, report: str = "") -> str:
    """The page; `report` is the address of the page of the state, where that was written too."""
    root, digits = told.trace.root, told.version.removeprefix("sha256:")[:12]
    back = paragraph(element("a", "State of data and models", href=report)) if report else None
    lead = joined(
        (back, paragraph(root.asset, " ", element("code", told.version)), _verdict(told), chips(trace_chips(told.trace)))
    )
    by_id = {section.id: section for section in told.sections}
    sections = [
        PageSection("Where it comes from", joined((graph(told.trace), steps_table(told.trace), *_objects(told.trace)))),
        PageSection("Proof", _proof(told)),
        PageSection("Evaluation", joined((_section(by_id["evaluation"]), _pictures(told)))),
        PageSection("Drift since", _section(by_id["drift"])),
        PageSection("What a rebuild would take", _rebuild(told.need)),
        PageSection("What it cost", _cost(told.cost)),
        PageSection("What it is", joined((_section(by_id["general"]), _section(by_id["development"])))),
        PageSection("Steps in detail", steps_details(told.trace)),
    ]
    return page(f"Model {told.name} {digits}", lead, sections, Extras(GRAPH_STYLE, wide=True))


def _verdict(told: ModelPage) -> Markup:
    if told.proof is None:
        return note(
            "There is no vault to hold its records against: nothing here proves that it can be made again.", state="warn"
        )
    if told.proof.ok:
        return note(
            f"Every record behind it verifies: {sum(one.count for one in told.proof.checks):,} checks held.", state="good"
        )
    return note(f"{len(told.proof.problems)} things behind it do not verify: see Proof.", state="bad")


def _proof(told: ModelPage) -> Markup:
    typed = (
        command(f"orchestrai model verify MODEL_FILE --asset {told.trace.root.asset} --bytes"),
        command(f"orchestrai model export {told.name}@{told.version[7:19]} --format proof --to proof.zip"),
    )
    if told.proof is None:
        return joined((paragraph("Not verified: there is no vault."), *typed))
    rows = ((one.name, "holds" if one.passed else "does not hold", one.count, one.about) for one in told.proof.checks)
    parts = [table("What was checked of its records when this page was made", ("check", "outcome", "times", "of"), rows)]
    if told.proof.problems:
        problems = ((one.check, one.where, one.message) for one in told.proof.problems)
        parts.append(table("What does not verify", ("check", "where", "why"), problems))
    unprovable = element("ul", *(element("li", text) for text in told.proof.unprovable))
    parts.append(joined((element("h3", "What no check here can show"), unprovable)))
    parts.append(
        paragraph("This page is no proof: who has only the file checks it by these, with the vault or without orchestrai:")
    )
    return joined((*parts, *typed))


def _objects(trace: Trace) -> Iterator[Markup]:
    objects = trace.objects
    rows = ((one.uri, size_of(one.size), one.modified[:19], element("code", one.sha256[:16])) for one in objects[:LISTED])
    more = f"; the first {LISTED} of them, all by orchestrai model trace --json" if len(objects) > LISTED else ""
    caption = f"The {len(objects):,} landed objects that it learned from{more}"
    yield folded(caption, table(caption, ("object", "size", "landed (UTC)", "sha256"), rows))


def _pictures(told: ModelPage) -> Markup:
    names = [name for name in sorted(told.pictures) if name.endswith(".png")]
    if not names:
        return paragraph("Its evaluation's plots are not at hand here.", state="dim")
    shown = []
    for name in names:
        what = name.removesuffix(".png").replace("_", " ")
        about = (
            f"{what} of {told.name} on held-out rows, as its evaluation published it; its figures stand in the tables above"
        )
        shown.append(png_picture(told.pictures[name], "ROC" if what == "roc" else what.capitalize(), about))
    return element("div", *shown, class_="plots")


def _section(section: Section) -> Markup:
    told = facts(section.facts) if section.facts else None
    return joined((told, *(table(one.caption, one.columns, one.rows) for one in section.tables)))


def _rebuild(need: RebuildNeed) -> Markup:
    told = facts(
        (
            (
                "from the vault",
                f"{need.snapshots:,} snapshots, {need.partitions:,} partitions, {size_of(need.restored_bytes)}",
            ),
            ("computed anew", f"{need.computed} steps, {size_of(need.computed_bytes)}"),
            (
                "took when it was made",
                f"{need.cpu_seconds:,.1f} CPU seconds, {need.wall_seconds:,.1f} s, at most {size_of(need.peak)}",
            ),
            (
                "libraries",
                ", ".join(f"{name} {version}" for name, version in sorted(need.libraries.items())) or "not recorded",
            ),
            ("code", ", ".join(need.code) or "not recorded"),
        )
    )
    listed = table(
        "What is read back, and what is computed", ("asset", "version", "partitions", "rows", "bytes", "how"), need.rows
    )
    typed = (command(text) for text in need.commands)
    return joined((told, listed, paragraph("In an empty folder, with the vault and a public key:"), *typed))


def _cost(cost: LineageCost) -> Markup:
    rows = (
        (
            line.key,
            line.runs,
            round(line.usage.all_cpu_seconds, 2),
            size_of(line.usage.bytes_read),
            f"{line.usd:,.6f}" if line.priced else "-",
        )
        for line in (*cost.by_stage, cost.total)
    )
    notes = element("ul", *(element("li", text) for text in cost.notes))
    return joined((table("By stage", ("stage", "runs", "CPU s", "read", "USD"), rows), notes))
