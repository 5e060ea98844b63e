"""The state of everything as one page, for people who have no Dagster: what is well, what waits for a person, and what mends it."""

from collections.abc import Iterator, Mapping

from orchestrai.core.html.frame import PageSection, page
from orchestrai.core.html.markup import Markup, element, joined
from orchestrai.core.html.parts import State as Shown
from orchestrai.core.html.parts import chips, command, counted, facts, minute_of, note, paragraph, table
from orchestrai.core.html.svg_plot import plots
from orchestrai.observability.alerts.condition import Condition
from orchestrai.observability.alerts.condition_kinds import SEVERITIES
from orchestrai.pipeline.costs.cost_page import cost_plots
from orchestrai.pipeline.reports.gate_list import ClosedGate
from orchestrai.provenance.compliance.compliance import Compliance, Point
from orchestrai.provenance.compliance.compliance_page import recovery_plots, span
from orchestrai.provenance.state.dataset_parts import dataset_plots, dataset_table
from orchestrai.provenance.state.model_parts import model_section
from orchestrai.provenance.state.state import State


def state_html(state: State, pages: Mapping[str, str] | None = None) -> str:
    """The page; `pages` are addresses of the pages of model versions that were written beside it, by version."""
    verdict = (
        note("Nothing waits for a person.", state="good")
        if state.ok
        else note(
            f"{counted(len(state.alerts), 'alert')}, {counted(len(state.gates), 'closed gate')}"
            + (f", {counted(len(state.unreadable), 'part')} that could not be read" if state.unreadable else "")
            + ": each below with what mends it.",
            state="bad",
        )
    )
    lead = joined(
        (
            paragraph(f"As of {state.time:%Y-%m-%d %H:%M} UTC, from signed records and landings.", state="dim"),
            verdict,
            chips(_chips(state)),
        )
    )
    sections = [
        PageSection("What waits for a person", _alerts(state)),
        PageSection("Gates", _gates(state.gates)),
        PageSection("Datasets", joined((dataset_table(state.overview), dataset_plots(state.days)))),
        PageSection("Vault", _vault(state)),
        PageSection("Models", _models(state, pages or {})),
        PageSection("Costs", _costs(state)),
    ]
    return page("State of data and models", lead, sections)


def _chips(state: State) -> Iterator[tuple[str, str, Shown]]:
    datasets = [one for summary in state.overview.summaries for one in summary.datasets]
    proven = sum(one.proven for one in datasets)
    yield f"{proven} of {len(datasets)}", "datasets proven", "good" if proven == len(datasets) else "warn"
    late = sum(not point.passed for point in state.overview.all_points)
    yield f"{late}", "datasets behind their RPO", "bad" if late else "good"
    yield f"{len(state.gates)}", "closed gate" if len(state.gates) == 1 else "closed gates", "bad" if state.gates else "good"
    serving = sum(bool(model.serves) for model in state.models)
    yield f"{serving} of {len(state.models)}", "models serve", "good" if serving == len(state.models) else "warn"
    severe = sum(one.severity in ("error", "critical") for one in state.alerts)
    yield f"{len(state.alerts)}", f"alerts, {severe} of them severe", "bad" if severe else "warn" if state.alerts else "good"
    stale = len(state.overview.stale.partitions)
    yield f"{stale:,}", "stale partitions", "warn" if stale else "good"


def _alerts(state: State) -> Markup:
    parts: list[Markup] = [
        note(element("strong", f"{name} could not be read: "), why, state="bad") for name, why in state.unreadable.items()
    ]
    if not state.alerts:
        return joined((*parts, paragraph("No alert.")))
    worst = sorted(state.alerts, key=lambda one: (-SEVERITIES.index(one.severity or "warning"), one.title))
    rows = ((one.title, _severity(one), one.found, element("code", one.remedy, class_="do")) for one in worst)
    parts.append(table("Alerts, with what mends them", ("what", "how bad", "found", "do this"), rows))
    return joined(parts)


def _severity(one: Condition) -> Markup:
    return element("span", one.severity, class_="warn" if one.severity == "warning" else "bad")


def _gates(gates: tuple[ClosedGate, ...]) -> Markup:
    if not gates:
        return paragraph("Every gate is open: nothing is held and nothing refused.", state="good")
    rows = ((g.asset, g.partition, g.state, minute_of(g.refusal.time), g.in_its_place, g.refusal.reason) for g in gates)
    columns = ("asset", "partition", "state", "since (UTC)", "in its place", "why")
    listed = table("Partitions that are held or refused; what was published before stays as it is", columns, rows)
    typed = (
        joined((element("h3", f"{gate.partition} of {gate.asset}"), *(command(text) for text in gate.remedies)))
        for gate in gates[:10]
    )
    return joined((listed, *typed))


def _vault(state: State) -> Markup:
    vault = state.vault
    if vault is None:
        return (
            note("Nothing was backed up yet.", state="warn") if "vault" not in state.unreadable else paragraph("See above.")
        )
    newest = minute_of(vault.read_whole) if vault.read_whole else "never: run orchestrai vault verify --level read"
    told = facts(
        (
            ("place", element("code", vault.url)),
            ("sealed", "yes" if vault.sealed else "no: who can read its store can read its contents"),
            ("every byte read and proven", newest),
            ("replicas", ", ".join(f"{url} ({minute_of(time)})" for url, time in sorted(vault.replicas.items())) or "none"),
            ("findings", "; ".join(vault.findings) or "none"),
        )
    )
    rows = (
        (
            one.dataset,
            one.snapshots,
            f"{one.newest:%Y-%m-%d %H:%M}",
            span(one.rpo_target),
            _last(one.rpo_seconds),
            span(one.rto_target),
            _last(one.rto_seconds),
            f"{one.proven:%Y-%m-%d %H:%M}" if one.proven else "never",
        )
        for one in vault.datasets
    )
    columns = ("dataset", "snapshots", "newest (UTC)", "RPO", "RPO measured", "RTO", "RTO measured", "last drill (UTC)")
    listed = table("RPO and RTO as declared, and as the last drill measured them", columns, rows)
    undrilled = [one.dataset for one in vault.datasets if not one.rto_seconds and one.dataset.endswith("/raw_events")]
    typed = (command(f"orchestrai vault drill {name.rpartition('/')[0]}") for name in undrilled[:3])
    return joined((told, listed, *typed, *_recovery(vault)))


def _recovery(vault: Compliance) -> Iterator[Markup]:
    for one in vault.datasets:
        if one.gap_seconds or one.rto_seconds:
            yield joined((element("h3", one.dataset), plots(*recovery_plots(one))))


def _last(points: tuple[Point, ...]) -> str:
    if not points:
        return "never"
    seconds = points[-1].value
    return f"{seconds:,.1f} s" if seconds < 600 else f"{seconds / 3600:,.1f} h"


def _models(state: State, pages: Mapping[str, str]) -> Markup:
    if not state.models:
        return paragraph("No model is declared, or none could be read.", state="dim")
    return joined(model_section(one, pages) for one in state.models)


def _costs(state: State) -> Markup:
    parts: list[Markup] = [
        paragraph(f"{use.pipeline}: {use.told} ({use.declared}).", state="bad" if use.share >= 1 else "")
        for use in state.budgets
    ]
    if not any(day.total.priced for days in state.costs.values() for day in days):
        parts.append(paragraph("No price applies here, so nothing is said of money.", state="dim"))
    for name, days in state.costs.items():
        body = plots(*cost_plots(days)) if days else paragraph("Nothing ran in the last 30 days.", state="dim")
        parts.append(joined((element("h3", name), body)))
    return joined((*parts, command("orchestrai cost report --days 30")))
