"""A look at what lies in a landing, by the code that ingest reads with: what will be refused, and why, before anything runs."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrai.core.yaml.declaration import LineOf, Location, field_name, load_yaml
from orchestrai.errors import ConfigError, OrchestraiError, StorageError, UnreadableObject
from orchestrai.ingest.discovery.partitioning import Sighting, sightings
from orchestrai.ingest.readers.chunks import Untidy
from orchestrai.ingest.readers.compression import PACKED, unpacked
from orchestrai.ingest.readers.object_reader import ObjectOutcome, Typing
from orchestrai.ingest.readers.row_rules import RowRules
from orchestrai.ingest.sources.landing import open_landing, require_landing
from orchestrai.ingest.spec import SourceSpec
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.storage.base import Store

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrai.pipeline.check.certain_fixes import Fix

LISTED = 5_000
OBJECTS = 3
HEAD_BYTES = 1 << 20
UNPACKED_BYTES = 64 << 20
# of Parquet, in the reader's batches
BATCHES = 2
TOO_LARGE = "{} is larger than a look, and was not looked at"
Weight = Literal["refused", "told"]


@dataclass(frozen=True)
class SampleFinding:
    """What a sample showed: `refused` is what ingest will not take, `told` what a person should know."""

    dataset: str
    weight: Weight
    path: str
    line: int
    field: str
    message: str

    def as_json(self) -> dict[str, str | int]:
        """The form that a program reads."""
        return {
            "dataset": self.dataset,
            "weight": self.weight,
            "file": self.path,
            "line": self.line,
            "field": self.field,
            "message": self.message,
        }


def place_of(document: Any, part: str, name: str) -> tuple[str | int, ...]:
    """Where what is called `name` lies in a pipeline.yaml."""
    names = [item.get("name") for item in document.get(part, ()) if isinstance(item, dict)]
    return (part, names.index(name))


def finding_at(subject: str, weight: Weight, path: Path, line_of: LineOf, at: Location, message: str) -> SampleFinding:
    """A finding at a field of a pipeline.yaml, told as mistakes are."""
    line, where = line_of(at), field_name(at)
    text = f"{path.parent.name}/{path.name}:{line}: {where}: {message}"
    return SampleFinding(subject, weight, str(path), line, where, text)


@dataclass
class SampledRows:
    """The typed rows of a dataset's sample, with what was found on the way; `paths` are the objects that were read, unpacked."""

    node: DatasetNode
    findings: list[SampleFinding] = field(default_factory=list)
    batches: "list[pa.RecordBatch]" = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    objects: int = 0

    def say(self, weight: Weight, at: Location, message: str) -> None:
        """Add a finding at a field of the dataset in pipeline.yaml."""
        path = self.node.folder / "pipeline.yaml"
        document, line_of = load_yaml(path)
        place = (*place_of(document, "datasets", self.node.spec.name), *at)
        self.findings.append(finding_at(self.node.shown, weight, path, line_of, place, message))


def sample_landing(node: DatasetNode, home: Path, scratch: Path, *, remote: bool = False) -> SampledRows:
    """Look at up to three objects of a landing on this machine, and with `remote` elsewhere; raises nothing of what it finds."""
    sampled = SampledRows(node)
    source = node.spec.source
    if source.kind != "objects":
        return sampled
    try:
        landing = open_landing(source.url, home)
        if landing.local_path("probe") is None and not remote:
            sampled.say(
                "told", ("source", "url"), f"{source.address} is elsewhere and was not looked at: --landing all does"
            )
            return sampled
        require_landing(landing, source)
        seen = list(islice(sightings(landing, source, node.grain), LISTED))
    except (StorageError, ConfigError) as exc:
        sampled.say("told", ("source", "url"), exc.message)
        return sampled
    mine = _judge_names(sampled, seen)
    sampled.objects = len(mine)
    for number, sighting in enumerate(_spread(mine)):
        _read(sampled, landing, sighting, scratch / f"{node.spec.name}-{number}")
    return sampled


def _judge_names(sampled: SampledRows, seen: Sequence[Sighting]) -> list[Sighting]:
    """The objects that have a partition; the others are told by their first."""
    spec = sampled.node.spec
    faults = [one for one in seen if one.fault]
    if faults:
        say = f"{len(faults)} of {len(seen)} objects become dead letters: {faults[0].fault}"
        sampled.say("refused", ("source", "partition_from"), say)
    rules = Counter(one.rule for one in seen if one.rule)
    mine = [one for one in seen if one.partition is not None]
    if not mine:
        passed = "; ".join(f"{count} {rule}" for rule, count in rules.most_common(3))
        beside = f" ({passed})" if passed else ""
        sampled.say(
            "told", ("source", "url"), f"expected an object at {spec.source.address}, found none{beside}: nothing has landed"
        )
        return []
    if rules:
        shown = "; ".join(f"{count} {rule}" for rule, count in rules.most_common(3))
        sampled.say("told", ("source", "passed_over"), f"{sum(rules.values())} objects are passed over: {shown}")
    return _within(sampled, mine)


def _within(sampled: SampledRows, mine: Sequence[Sighting]) -> list[Sighting]:
    """The objects of declared partitions; those before the start and after the end are told."""
    cut = sampled.node.spec.partitions
    span, inside, outside = cut.span, list[Sighting](), list[Sighting]()
    for one in mine:
        opening = span.opening(str(one.partition), datetime.max.replace(tzinfo=UTC))
        (outside if opening == "outside" else inside).append(one)
    if outside:
        keys = sorted(str(one.partition) for one in outside)
        at: Location = ("partitions", "start" if cut.end is None else "end")
        then = f"{len(outside)} of {len(mine)} objects lie outside the declared span and are passed over: {keys[0]} to {keys[-1]}"
        sampled.say("told", at, then)
    return inside


def _spread(mine: Sequence[Sighting]) -> list[Sighting]:
    """The first, the last and the middle object."""
    places = dict.fromkeys((0, len(mine) - 1, len(mine) // 2)) if mine else {}
    return [mine[place] for place in places][:OBJECTS]


def _read(sampled: SampledRows, landing: Store, sighting: Sighting, scratch: Path) -> None:
    """Type an object's first rows as ingest would; what it would set aside is told by its first."""
    node, info = sampled.node, sighting.info
    source = node.spec.source
    try:
        path, whole = _fetched(landing, sighting, scratch, source)
        if not whole and source.footer_lines:
            source = source.model_copy(update={"footer_lines": 0})
        rules = RowRules(node.contract, str(sighting.partition), node.grain)
        outcome = ObjectOutcome()
        typing = Typing(source, node.contract, rules)
        if source.format == "parquet":
            batches = list(islice(typing.large(path, outcome, info.key, careful=False), BATCHES))
        else:
            batches = list(typing.batches(path, outcome, info.key))
    except Untidy:
        sampled.say("told", ("source",), f"{info.key} has values that are set aside, and was not looked at further")
        return
    except OrchestraiError as exc:
        large = f"at most {UNPACKED_BYTES} bytes" in exc.message
        sampled.say(
            "told" if large else "refused",
            ("source",),
            f"{info.key}: {exc.message}" if not large else TOO_LARGE.format(info.key),
        )
        return
    sampled.paths.append(path)
    sampled.batches += batches
    _judge(sampled, info.key, outcome, whole=whole)


def _judge(sampled: SampledRows, key: str, outcome: ObjectOutcome, *, whole: bool) -> None:
    source = sampled.node.spec.source
    if outcome.unreadable:
        sampled.say("refused", ("source",), f"{key}: {outcome.unreadable}")
        return
    if outcome.missing:
        sampled.say("told", ("contract",), f"{key} lacks the columns {', '.join(outcome.missing[:5])}: they are null")
    if outcome.extra:
        sampled.say(
            "told", ("contract",), f"{key} has columns that nobody declared: {', '.join(map(repr, outcome.extra[:5]))}"
        )
    firsts: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for letter in outcome.refused:
        counts[letter.column] += 1
        firsts.setdefault(letter.column, f"line {letter.mark.line}: {letter.reason}")
    share = outcome.set_aside / outcome.seen if outcome.seen else 0.0
    closes = share > source.max_refused_share
    for column, count in counts.most_common(5):
        of = f"{count:,} of {'the' if whole else 'the first'} {outcome.seen:,} rows of {key}"
        then = (
            f"more than max_refused_share ({source.max_refused_share:g}): all of it is refused" if closes else "dead letters"
        )
        named = f" by {column}" if column else ""
        sampled.say("refused" if closes else "told", ("source",), f"{of} are set aside{named}, {then}; {firsts[column]}")
    if not outcome.seen:
        sampled.say("refused", ("source",), f"{key}: expected rows, found none")


def _fetched(landing: Store, sighting: Sighting, scratch: Path, source: SourceSpec) -> tuple[Path, bool]:
    """An object's bytes here: where they are, or the head of a long text. What ends anywhere only is read whole."""
    info = sighting.info
    wide = source.encoding.lower().startswith(("utf-16", "utf-32", "utf_16", "utf_32"))
    whole = source.format in ("parquet", "json") or wide or info.size <= HEAD_BYTES
    local = landing.local_path(info.key)
    if local is None or not whole:
        head = b"" if whole else landing.read(info.key, length=HEAD_BYTES)
        # what is packed, and a first line that goes on, say nothing by their head
        if whole or head.startswith(PACKED) or b"\n" not in head:
            if info.size > UNPACKED_BYTES:
                raise UnreadableObject(f"expected at most {UNPACKED_BYTES} bytes, found {info.size}")
            head, whole = landing.read(info.key), True
        scratch.write_bytes(head if whole else head[: head.rfind(b"\n") + 1])
        local = scratch
    if source.format == "parquet":
        return local, True
    return unpacked(local, UNPACKED_BYTES, scratch.with_suffix(".raw")), whole


def look_at_landings(
    pipelines: Sequence[Pipeline], home: Path, *, remote: bool = False
) -> "tuple[list[SampleFinding], list[Fix]]":
    """What samples of all landings show, dataset by dataset, and what views and labels make of them; then what would mend it.

    Nothing is published and no file changed.
    """
    from orchestrai.pipeline.check.certain_fixes import certain_fixes
    from orchestrai.pipeline.check.view_sample import sample_files, sampled_views

    found: list[SampleFinding] = []
    fixes: list[Fix] = []
    with tempfile.TemporaryDirectory(prefix="orchestrai-check-") as folder:
        sampled: dict[str, SampledRows] = {}
        for pipeline in pipelines:
            for node in pipeline.own_datasets:
                scratch = Path(folder) / pipeline.name
                scratch.mkdir(exist_ok=True)
                one = sampled[node.prefix] = sample_landing(node, home, scratch, remote=remote)
                found += one.findings
                fixes += certain_fixes(one)
        files = sample_files(sampled, Path(folder))
        for pipeline in pipelines:
            found += sampled_views(pipeline, sampled, files)
    return found, fixes
