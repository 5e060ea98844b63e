"""A compliance report as one HTML page, fit to be printed and handed over."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from orchestrai.core.html.frame import PageSection, page
from orchestrai.core.html.markup import Markup, element, joined
from orchestrai.core.html.parts import counted, note, paragraph, table
from orchestrai.core.html.svg_plot import Plot, Series, figure, plots
from orchestrai.core.time.duration_cron import format_duration
from orchestrai.provenance.compliance.compliance import Compliance, Point, Protected

# of the series that the plots show, so many of the newest are in a table too
LISTED = 10


def compliance_html(report: Compliance) -> str:
    """The page; everything from data is escaped."""
    wrong = len(report.findings) + len(report.gaps) + sum(len(one.unusual) for one in report.datasets)
    verdict = (
        note("Nothing is wrong, unusual or unprotected.", state="good")
        if report.ok
        else note(f"{counted(wrong, 'thing needs', 'things need')} a person: see below.", state="bad")
    )
    source = paragraph(
        f"As of {_time(report.time)}, from the signed records of the ledger and of the vault ",
        element("code", report.vault),
        " at ",
        element("code", report.url),
        ".",
        state="dim",
    )
    sections = (
        PageSection("Needs a person", _attention(report)),
        PageSection("Protected", _datasets(report)),
        PageSection("Proven", _proofs(report)),
        PageSection("Holds, locks and keys", joined((_holds(report), _keys(report)))),
        PageSection("Replicas", _replicas(report)),
        PageSection("Retention: what goes next", _retention(report)),
        PageSection("Models", _models(report)),
        PageSection("Recovery over time", joined(_history(one) for one in report.datasets)),
    )
    return page("Backups: compliance report", joined((source, verdict)), sections)


def _attention(report: Compliance) -> Markup:
    rows: list[Sequence[Any]] = [("finding", finding, "") for finding in report.findings]
    rows += [("unusual change", message, one.dataset) for one in report.datasets for message in one.unusual]
    rows += [("not protected", f"{gap.why}: {gap.count}, such as {gap.example}", gap.asset) for gap in report.gaps]
    rows += [
        ("key refused", "it lies beside the trusted keys and is not on the signed list", key) for key in report.refused_keys
    ]
    body = table("Findings, unusual changes, and what no snapshot would give back", ("what", "in words", "of"), rows)
    again = ", ".join(f"{count} {stage.replace('_', ' ')}(s)" for stage, count in sorted(report.made_again.items()))
    told = (
        paragraph(
            f"Kept as signed receipts and made again from what is kept whole: {again}. ",
            element("code", "orchestrai model reproduce"),
            " proves that the same bytes come out.",
            state="dim",
        )
        if again
        else None
    )
    return joined((body if rows else paragraph("Nothing."), told))


def _datasets(report: Compliance) -> Markup:
    rows = [
        (
            one.dataset,
            one.snapshots,
            _time(one.since),
            _time(one.newest),
            one.newest_id[:12],
            one.rows,
            one.size,
            one.stored,
            _time(one.proven),
            _time(one.locked_until) if one.locked_until else "no lock",
        )
        for one in report.datasets
    ]
    columns = (
        "dataset",
        "snapshots",
        "protected since",
        "newest",
        "id",
        "rows",
        "bytes",
        "bytes stored",
        "last drill",
        "locked until",
    )
    return table("Times in UTC; bytes of the newest snapshot, and what all of them took", columns, rows)


def _proofs(report: Compliance) -> Markup:
    whole = (
        paragraph(f"Every byte was read and proven last at {_short(report.read_whole)}.")
        if report.read_whole
        else paragraph(
            "No record says that every byte was read: run ", element("code", "orchestrai vault verify --level read"), "."
        )
    )
    rows = [
        (
            _short(one.time),
            one.level,
            one.dataset or "all",
            "{}/{}".format(*one.sample) if one.sample else "all files",
            one.snapshots,
            one.files_read,
            one.bytes_read,
            one.findings,
        )
        for one in reversed(report.verifications)
    ]
    columns = ("when", "level", "of", "part", "snapshots", "files read", "bytes read", "findings")
    drills = [
        (one.dataset, _time(one.proven), _last(one.rto_seconds), one.rto_target, _last(one.rpo_seconds), one.rpo_target)
        for one in report.datasets
        if one.rto_seconds
    ]
    named = ("dataset", "last drill", "RTO measured, s", "declared, s", "RPO measured, s", "declared, s")
    return joined((whole, table("Verifications", columns, rows), table("Restore drills", named, drills)))


def _last(points: Sequence[Point]) -> str:
    return f"{points[-1].value:,.1f}" if points else "never"


def _holds(report: Compliance) -> Markup:
    rows = [
        (one.dataset, one.snapshot_id[:12] or "all, those to come too", _short(one.placed), one.reason)
        for one in report.holds
    ]
    return table("Legal holds that are on", ("dataset", "snapshot", "placed", "reason"), rows)


def _keys(report: Compliance) -> Markup:
    rows: list[Sequence[Any]] = [
        (key, "signs here" if key == report.signing_key else "trusted") for key in report.trusted_keys
    ]
    rows += [(key, "refused: not on the signed list") for key in report.refused_keys]
    rows += [(port, "wraps the data key of the sealed vault") for port in report.wrapped_by]
    sealed = (
        "The vault is sealed." if report.sealed else "The vault is not sealed: who can read its store can read its contents."
    )
    return joined((paragraph(sealed), table("Keys", ("key", "what it may"), rows)))


def _replicas(report: Compliance) -> Markup:
    rows = [(url, _short(time)) for url, time in sorted(report.replicas.items())]
    return table("Copied and verified last, as the receipts of snapshots say", ("replica", "when"), rows)


def _retention(report: Compliance) -> Markup:
    rows = [
        (one.dataset, one.policy, len(one.would_go), ", ".join(name[:12] for name in one.would_go[:5]))
        for one in report.datasets
    ]
    return table(
        "Nothing goes that a rule, a hold, a model or an unusual change keeps",
        ("dataset", "keeps", "would go", "first"),
        rows,
    )


def _models(report: Compliance) -> Markup:
    rows = [(one.name, one.state, one.version[7:19], _short(one.since)) for one in report.models]
    return table("Which version of each model serves", ("model", "state", "version", "since"), rows)


def _history(one: Protected) -> Markup:
    if not one.gap_seconds and not one.rto_seconds:
        return joined(())
    return joined((element("h3", one.dataset), plots(*recovery_plots(one))))


def recovery_plots(one: Protected) -> Iterator[Markup]:
    """How much would have been lost at most, and how long each drill took, beside what is declared."""
    gaps = [(_time(point.time), round(point.value / 3600, 2)) for point in one.gap_seconds[: -LISTED - 1 : -1]]
    about = f"Between {counted(one.snapshots, 'snapshot')} of {one.dataset}; declared RPO {span(one.rpo_target)}."
    yield _over_time(
        Plot(
            "RPO: hours between snapshots",
            about,
            (_series("hours", one.gap_seconds, 3600.0),),
            target=(one.rpo_target / 3600, "declared RPO"),
            columns=("taken (UTC)", "hours since the one before"),
            rows=gaps,
        ),
        one.gap_seconds,
    )
    took = [(_time(point.time), round(point.value, 2)) for point in one.rto_seconds[: -LISTED - 1 : -1]]
    about = f"{counted(len(one.rto_seconds), 'drill')} of {one.dataset}; declared RTO {span(one.rto_target)}."
    target = (one.rto_target, "declared RTO") if _near(one.rto_seconds, one.rto_target) else None
    about += "" if target or not one.rto_seconds else " That is far above the highest point, so its line is not drawn."
    yield _over_time(
        Plot(
            "RTO: seconds of a drill",
            about,
            (_series("seconds", one.rto_seconds, 1.0),),
            target=target,
            columns=("published (UTC)", "RTO, s"),
            rows=took,
        ),
        one.rto_seconds,
    )


def _near(points: Sequence[Point], target: float) -> bool:
    """Whether a target can be drawn beside points without flattening them."""
    return bool(points) and target <= 8 * max(point.value for point in points)


def _series(name: str, points: Sequence[Point], unit: float) -> Series:
    return Series(name, [(point.time.timestamp(), point.value / unit) for point in points])


def _over_time(plot: Plot, points: Sequence[Point]) -> Markup:
    places = sorted({0, len(points) - 1}) if points else []
    return figure(replace(plot, ticks=[(points[at].time.timestamp(), _time(points[at].time)) for at in places]))


def span(seconds: float) -> str:
    """Seconds as people say them."""
    return format_duration(timedelta(seconds=seconds))


def _time(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment is not None else "never"


def _short(time: str) -> str:
    return time[:16].replace("T", " ")
