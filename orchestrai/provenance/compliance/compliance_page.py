"""A compliance report as one HTML page: accessible, without script or outside resource, fit to be printed and handed over."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from html import escape
from typing import Any

from orchestrai.core.picture import png
from orchestrai.core.time.duration_cron import format_duration
from orchestrai.provenance.compliance.compliance import Compliance, Point, Protected

_STYLE = """
:root{color-scheme:light dark;--ink:#16202c;--dim:#4d5a69;--line:#cdd6e0;--card:#fff;--ground:#f3f5f8;--good:#0d6a43;--bad:#a3261b}
@media(prefers-color-scheme:dark){:root{--ink:#e7edf4;--dim:#a9b5c3;--line:#33404d;--card:#18212b;--ground:#0f151c;--good:#57cf99;--bad:#ff9a8f}}
*{box-sizing:border-box}body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:1280px;padding:28px 24px 64px;color:var(--ink);
background:var(--ground)}h1{font-size:25px;margin:0}h2{font-size:18px;margin:34px 0 8px}h3{font-size:15px;margin:22px 0 6px}
p{margin:4px 0;max-width:80ch}.dim{color:var(--dim)}.good{color:var(--good)}.bad{color:var(--bad);font-weight:600}
code{font-family:ui-monospace,monospace;font-size:13px;overflow-wrap:anywhere}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:10px;background:var(--card)}
.scroll:focus-visible{outline:3px solid #1a56b0}
table{border-collapse:collapse;width:100%;font-size:13px}caption{text-align:left;padding:8px 10px;color:var(--dim)}
th,td{text-align:left;padding:6px 10px;border-top:1px solid var(--line);vertical-align:top}td.n{text-align:right;
font-variant-numeric:tabular-nums}thead th{color:var(--dim);white-space:nowrap}img{max-width:100%;height:auto;background:#fff;
border-radius:8px}nav ul{columns:2;padding-left:20px}a{color:inherit}
@media print{body{background:#fff;padding:0}.scroll{overflow:visible}}
"""
# of the series that the plots show, so many of the newest are in a table too
LISTED = 10


def compliance_html(report: Compliance) -> str:
    """The page; everything from data is escaped."""
    wrong = len(report.findings) + len(report.gaps) + sum(len(one.unusual) for one in report.datasets)
    verdict = (
        '<p class="good">Nothing is wrong, unusual or unprotected.</p>'
        if report.ok
        else f'<p class="bad">{wrong} thing(s) need a person: see below.</p>'
    )
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">",
        f"<title>Backups: compliance report</title><style>{_STYLE}</style></head><body><header><h1>Backups: compliance report</h1>",
        f'<p class="dim">As of {_time(report.time)}, from the signed records of the ledger and of the vault '
        f"<code>{escape(report.vault)}</code> at <code>{escape(report.url)}</code>.</p>{verdict}</header><main>",
        _attention(report),
        _section("Protected", _datasets(report)),
        _section("Proven", _proofs(report)),
        _section("Holds, locks and keys", _holds(report) + _keys(report)),
        _section("Replicas", _replicas(report)),
        _section("Retention: what goes next", _retention(report)),
        _section("Models", _models(report)),
        _section("Recovery over time", "".join(_history(one) for one in report.datasets)),
        "</main></body></html>",
    ]
    return "".join(parts)


def _section(title: str, body: str) -> str:
    name = "".join(letter for letter in title.lower() if letter.isalnum())
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(title)}</h2>{body}</section>'


def _attention(report: Compliance) -> str:
    rows: list[Sequence[Any]] = [("finding", finding, "") for finding in report.findings]
    rows += [("unusual change", message, one.dataset) for one in report.datasets for message in one.unusual]
    rows += [("not protected", f"{gap.why}: {gap.count}, such as {gap.example}", gap.asset) for gap in report.gaps]
    rows += [
        ("key refused", "it lies beside the trusted keys and is not on the signed list", key) for key in report.refused_keys
    ]
    body = _table("Findings, unusual changes, and what no snapshot would give back", ("what", "in words", "of"), rows)
    again = ", ".join(f"{count} {stage.replace('_', ' ')}(s)" for stage, count in sorted(report.made_again.items()))
    told = (
        f'<p class="dim">Kept as signed receipts and made again from what is kept whole: {escape(again)}. '
        "<code>orchestrai model reproduce</code> proves that the same bytes come out.</p>"
        if again
        else ""
    )
    return _section("Needs a person", (body if rows else "<p>Nothing.</p>") + told)


def _datasets(report: Compliance) -> str:
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
    return _table("Times in UTC; bytes of the newest snapshot, and what all of them took", columns, rows)


def _proofs(report: Compliance) -> str:
    whole = f"Every byte was read and proven last at {_short(report.read_whole)}." if report.read_whole else (
        "No record says that every byte was read: run <code>orchestrai vault verify --level read</code>."
    )  # fmt: skip
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
    return f"<p>{whole}</p>" + _table("Verifications", columns, rows) + _table("Restore drills", named, drills)


def _last(points: Sequence[Point]) -> str:
    return f"{points[-1].value:,.1f}" if points else "never"


def _holds(report: Compliance) -> str:
    rows = [
        (one.dataset, one.snapshot_id[:12] or "all, those to come too", _short(one.placed), one.reason)
        for one in report.holds
    ]
    return _table("Legal holds that are on", ("dataset", "snapshot", "placed", "reason"), rows)


def _keys(report: Compliance) -> str:
    rows: list[Sequence[Any]] = [
        (key, "signs here" if key == report.signing_key else "trusted") for key in report.trusted_keys
    ]
    rows += [(key, "refused: not on the signed list") for key in report.refused_keys]
    rows += [(port, "wraps the data key of the sealed vault") for port in report.wrapped_by]
    sealed = (
        "The vault is sealed." if report.sealed else "The vault is not sealed: who can read its store can read its contents."
    )
    return f"<p>{sealed}</p>" + _table("Keys", ("key", "what it may"), rows)


def _replicas(report: Compliance) -> str:
    rows = [(url, _short(time)) for url, time in sorted(report.replicas.items())]
    return _table("Copied and verified last, as the receipts of snapshots say", ("replica", "when"), rows)


def _retention(report: Compliance) -> str:
    rows = [
        (one.dataset, one.policy, len(one.would_go), ", ".join(name[:12] for name in one.would_go[:5]))
        for one in report.datasets
    ]
    return _table(
        "Nothing goes that a rule, a hold, a model or an unusual change keeps",
        ("dataset", "keeps", "would go", "first"),
        rows,
    )


def _models(report: Compliance) -> str:
    rows = [(one.name, one.state, one.version[7:19], _short(one.since)) for one in report.models]
    return _table("", ("model", "state", "version", "since"), rows)


def _history(one: Protected) -> str:
    if not one.gap_seconds and not one.rto_seconds:
        return ""
    text = (
        f"Recovery of {one.dataset} over time: hours between snapshots, {len(one.gap_seconds)} of them, "
        f"declared RPO {_span(one.rpo_target)}; seconds that {len(one.rto_seconds)} drills took, declared RTO {_span(one.rto_target)}."
    )
    picture = f'<img alt="{escape(text)}" width="980" height="230" src="data:image/png;base64,{_plot(one)}">'
    newest = [(_time(point.time), f"{point.value / 3600:,.2f}") for point in one.gap_seconds[: -LISTED - 1 : -1]]
    took = [
        (_time(rto.time), f"{rto.value:,.2f}", f"{rpo.value:,.0f}")
        for rto, rpo in list(zip(one.rto_seconds, one.rpo_seconds, strict=True))[: -LISTED - 1 : -1]
    ]
    tables = _table("The newest snapshots", ("taken", "hours since the one before"), newest)
    tables += _table("The newest drills", ("published", "RTO, s", "RPO, s"), took)
    return f"<h3>{escape(one.dataset)}</h3>{picture}<details><summary>As tables</summary>{tables}</details>"


def _plot(one: Protected) -> str:
    def paint(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        for axes, points, unit, target, title in (
            (left, one.gap_seconds, 3600.0, one.rpo_target, "RPO: hours between snapshots"),
            (right, one.rto_seconds, 1.0, one.rto_target, "RTO: seconds of a drill"),
        ):
            axes.set_title(title, fontsize=9, loc="left")
            if points:
                axes.plot(
                    [point.time for point in points], [point.value / unit for point in points], ".-", color="#2f74c9", lw=1
                )
            else:
                axes.text(0.5, 0.5, "never measured", ha="center", transform=axes.transAxes)
            axes.axhline(target / unit, color="#b3402f", lw=1, ls="--")
            axes.set_yscale("symlog", linthresh=1)
            axes.tick_params(labelsize=7)
            axes.tick_params(axis="x", rotation=20)

    return b64encode(png(paint, (9.8, 2.3), 100)).decode()


def _span(seconds: float) -> str:
    return format_duration(timedelta(seconds=seconds))


def _time(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment is not None else "never"


def _short(time: str) -> str:
    return time[:16].replace("T", " ")


def _table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table with a caption and headers; a scrolled region that a keyboard reaches."""
    body = []
    for row in rows:
        cells = [
            f'<td class="n">{cell:,}</td>' if isinstance(cell, int | float) else f"<td>{escape(str(cell))}</td>"
            for cell in row[1:]
        ]
        body.append(f'<tr><th scope="row">{escape(str(row[0]))}</th>{"".join(cells)}</tr>')
    if not body:
        return f'<p class="dim">{escape(caption or "Of this")}: none.</p>'
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    label = escape(caption or columns[0])
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table>{title}<thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )
