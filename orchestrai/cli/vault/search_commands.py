"""`vault find|browse`: which snapshots have a file or a partition, and all of them as pages."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrai.cli.lookup import VaultUrl, moment_of, open_existing
from orchestrai.cli.output import AsJson, bars, emit, out, table
from orchestrai.errors import ConfigError


def find(
    pattern: Annotated[str, typer.Argument(help="glob on partition, path or file name, such as 2011-03-* or '*.csv'")] = "",
    dataset: Annotated[str, typer.Option(help="glob on the dataset, for example churn/orders or 'churn/*'")] = "",
    partition: Annotated[str, typer.Option(help="glob on the partition, for example '2011-03-*'")] = "",
    sha256: Annotated[str, typer.Option("--hash", help="a SHA-256 of a file or root, or the beginning of one")] = "",
    smallest: Annotated[str, typer.Option("--min-size", help="for example 10MB")] = "",
    largest: Annotated[str, typer.Option("--max-size", help="for example 2GB")] = "",
    since: Annotated[str | None, typer.Option(help="only what a snapshot from this time on has (ISO, UTC)")] = None,
    until: Annotated[str | None, typer.Option(help="only what a snapshot up to this time has (ISO, UTC)")] = None,
    files: Annotated[bool, typer.Option("--files/--partitions", help="files and partitions, or partitions alone")] = True,
    limit: Annotated[int, typer.Option(min=1, help="how many to show, the newest")] = 100,
    url: VaultUrl = None,
    as_json: AsJson = False,
) -> None:
    """Find files and partitions in all snapshots: which have it, since when, until when, and how it changed. Newest first.

    Exit code 1 when nothing fits. Each list of files is read once, however many snapshots share it; with --partitions none is.

    Examples: orchestrai vault find '2011-03-1*' --dataset churn/orders    orchestrai vault find --hash 3f2a91
    orchestrai vault find '*.csv' --since 2026-11-01
    """
    from orchestrai.vault.search.history import Query, search

    if not (pattern or dataset or partition or sha256 or smallest or largest):
        raise ConfigError(
            "expected something to look for, found nothing: give a pattern, --dataset, --partition, --hash or a size"
        )
    digest = sha256.lower().removeprefix("sha256:")
    if digest.strip("0123456789abcdef") or len(digest) > 64:
        raise ConfigError(f"expected a SHA-256 or the beginning of one, found {sha256!r}")
    query = Query(
        pattern,
        dataset,
        partition,
        digest,
        size_of(smallest) or 0,
        size_of(largest),
        moment_of(since) if since else None,
        moment_of(until) if until else None,
        files,
    )
    with bars(quiet=as_json) as progress:
        findings = search(open_existing(url), query, progress)
    shown = findings.matches[:limit]
    if as_json:
        emit({**findings.as_json(), "matches": [match.as_json() for match in shown], "found": len(findings.matches)})
        raise typer.Exit(0 if findings.matches else 1)
    rows = [
        (
            f"{match.dataset}@{match.partition}",
            match.path or f"({match.role})",
            version.size,
            version.sha256.removeprefix("sha256:")[:12],
            version.change,
            f"{version.since:%Y-%m-%d %H:%M}",
            f"{version.until:%Y-%m-%d %H:%M}" if version.until else "still there",
            version.snapshots,
            version.last[:12],
        )
        for match in shown
        for version in match.versions
    ]
    columns = ("partition", "file", "bytes", "hash", "", "since (UTC)", "until (UTC)", "snapshots", "newest with it")
    table(f"{len(findings.matches):,} found in {findings.snapshots:,} snapshots", columns, rows)
    if len(shown) < len(findings.matches):
        out.print(f"and {len(findings.matches) - len(shown):,} more; see --limit")
    if shown and shown[0].path:
        first = shown[0]
        out.print(
            f"orchestrai vault restore {first.versions[0].last[:12]} --only {first.partition} --file {first.path} --to DIR",
            markup=False,
            soft_wrap=True,
        )
    raise typer.Exit(0 if findings.matches else 1)


def browse(
    to: Annotated[Path, typer.Option("--to", help="folder to make; one that an earlier browse made is replaced")],
    url: VaultUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write the vault as a folder of static pages: datasets, snapshots, partitions, files, and the command that restores each.

    Open index.html from the disk, or put the folder on any web space: no server and no FUSE. Pages load what is looked at, so thousands
    of snapshots stay usable. The pages of a sealed vault are not sealed: they have names, sizes and hashes, and no contents.

    Example: orchestrai vault browse --to ./vault-pages
    """
    from orchestrai.vault.search.browse import write_pages

    vault = open_existing(url)
    with bars(quiet=as_json) as progress:
        pages = write_pages(vault, to, option=f"--vault {url}" if url else "", progress=progress)
    if as_json:
        emit({**vars(pages), "folder": str(to)})
    else:
        out.print(
            f"{pages.snapshots:,} snapshots of {pages.datasets} datasets, {pages.partitions:,} partitions, {pages.lists:,} lists of "
            f"files in {pages.bytes:,} bytes: open {to / 'index.html'}",
            soft_wrap=True,
        )


_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}


def size_of(text: str) -> int | None:
    """A size as people write it, `10MB` or `512`; None for nothing. Raises ConfigError."""
    digits = text.strip().upper().rstrip("BIKMGT")
    unit = text.strip().upper()[len(digits) :]
    if not text:
        return None
    try:
        return int(float(digits) * _UNITS[unit.strip()])
    except (ValueError, KeyError, OverflowError) as exc:
        raise ConfigError(f"expected a size such as 512, 10MB or 2GiB, found {text!r}") from exc
