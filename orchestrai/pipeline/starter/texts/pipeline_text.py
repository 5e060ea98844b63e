"""pipeline.yaml and orchestrai.yaml of a first project, with what was seen beside what was written."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from orchestrai.core.time.duration_cron import format_duration
from orchestrai.core.yaml.yaml_text import flow_value, one_line
from orchestrai.pipeline.starter.name_words import TAKEN
from orchestrai.pipeline.starter.starter import Findings
from orchestrai.pipeline.starter.texts.view_text import entity_of, time_of

# beside the pipelines of a project, for editors
SCHEMA = "pipeline.schema.json"
BOOSTING = "xgboost: {max_depth: 3, num_boost_round: 100, eta: 0.1}"
PROJECT = """# A project of orchestrai: where its pipelines lie, and where landing, lake, vault and keys are kept.
# Every key is optional; a variable ORCHESTRAI_<SETTING> comes before the file. Stores, clouds, instance: docs/deploy.md.
pipelines: [{pipelines}]
home: .orchestrai
# vault: s3://bucket/vault
# connections: {{here: {{cloud: aws, region: eu-west-1, default: true}}}}
"""


def pipeline_text(findings: Findings) -> str:
    """The text of pipeline.yaml."""
    return "\n".join(_lines(findings)) + "\n"


def _lines(findings: Findings) -> Iterator[str]:
    cut, shape = findings.cut, findings.shape
    yield f"# yaml-language-server: $schema=../{SCHEMA}"
    yield "# Written by `orchestrai init`; what is unsure says so. `orchestrai check` tells what is wrong, and why."
    # null and on are names too
    yield f"pipeline: {flow_value(findings.name) if findings.name in TAKEN else findings.name}"
    yield "description: What this pipeline is for."
    yield "owner: team:data"
    yield ""
    yield "datasets:"
    yield f"  - name: {findings.dataset}"
    yield from (f"    # {one_line(note)}" for note in findings.sample.notes)
    if findings.look.others:
        yield f"    # passed over, as of another kind: {one_line(', '.join(findings.look.others[:5]))} (unsure)"
    yield "    source:"
    yield from (f"      {key}: {_flow(value)}" for key, value in source_keys(findings).items())
    yield f"    contract: {findings.name}.contract.yaml"
    yield from (f"    # {one_line(note)}" for note in cut.notes)
    start = f", start: {_start(cut.first)}" if cut.grain != "all" else ""
    yield f"    partitions: {{grain: {cut.grain}{start}}}"
    keep = "{last: 10}" if cut.grain == "all" else "{daily: 7, weekly: 5, monthly: 12}"
    yield f'    backup: {{every: "0 2 * * *", keep: {keep}, rpo: 26h, rto: 15m}}'
    yield "    retries: {max: 3, delay: 5m, backoff: 2}"
    yield ""
    yield "features:"
    yield f"  - name: {findings.name}_features"
    yield f"    from: [{findings.dataset}]"
    yield f"    entity: {entity_of(findings)}"
    if shape.kind == "events":
        yield f"    as_of: {{every: {span_text(shape.every)}}}"
        yield f"    lookback: {{time: {span_text(shape.window)}}}"
    else:
        yield f"    event_time: {time_of(findings)}"
        yield "    lookback: " + (
            "{rows: 0}" if shape.kind == "table" else f"{{time: {span_text(max(shape.window, 6 * shape.step))}}}"
        )
    yield "    sql: features.sql"
    yield ""
    yield from _model(findings)


def _model(findings: Findings) -> Iterator[str]:
    shape = findings.shape
    target = shape.target
    task = ("regression" if shape.count else "binary") if shape.kind == "events" or target is None else target.task
    yield "models:"
    yield from (f"  # {one_line(note)}" for note in shape.notes)
    yield f"  - name: {findings.name}_model"
    yield f"    features: [{findings.name}_features]"
    yield f"    entity: {entity_of(findings)}"
    yield f"    label: {{sql: label.sql, horizon: {span_text(shape.horizon)}}}"
    yield f"    task: {task}"
    if task == "forecast":
        yield f"    forecast: {{season: {span_text(shape.window)}, ahead: {span_text(shape.horizon)}}}"
    # trees repeat what they saw: a value that grows needs something that goes on
    estimator = "sklearn: {class: sklearn.linear_model.Ridge}" if shape.persistent else BOOSTING
    yield f"    estimator: {{{estimator}}}"
    yield f"    split: {_split(findings)}"
    metric = {"binary": "auc", "multiclass": "log_loss", "regression": "rmse", "forecast": "mase"}[task]
    yield "    # a candidate must beat the naive answer; set at_least or at_most to what you need"
    yield f"    promote_when: {{metric: {metric}}}"
    yield '    retrain: "0 4 * * 1"'


def _split(findings: Findings) -> str:
    shape = findings.shape
    # rows of one moment, or of a file that is not in order of time, are told apart by who they are of
    if shape.kind == "table" and (shape.time is None or shape.time.distinct < 20):
        return "{folds: 5}"
    return f"{{by: time, test_share: 0.25, gap: {span_text(shape.horizon)}}}"


def source_keys(findings: Findings) -> dict[str, Any]:
    """What `source` says."""
    variable = f"{findings.name.upper()}_URL"
    # a brace in a path would end the default
    plain = set("{}$") & set(findings.look.url)
    url = findings.look.url if plain else f"${{{variable}:-{findings.look.url}}}"
    keys: dict[str, Any] = {"url": url, **findings.sample.reading, **findings.marks}
    if findings.look.pattern != "*":
        keys["pattern"] = findings.look.pattern
    nulls = sorted({word for guess in findings.columns for word in guess.nulls} - {""})
    if nulls and keys["format"] == "csv":
        keys["null_values"] = ["", *nulls]
    formats = list(dict.fromkeys(form for guess in findings.columns for form in guess.formats))
    if formats:
        keys["timestamp_formats"] = formats + _iso(findings)
    if findings.cut.grain != "all":
        keys |= findings.cut.source
    return keys


def _iso(findings: Findings) -> list[str]:
    """The spellings of ISO 8601 that other columns have, since declared formats are the only ones read."""
    import pyarrow as pa

    found: list[str] = []
    for guess in findings.columns:
        landed = findings.sample.columns.get(guess.source)
        if not guess.timed or guess.formats or guess.unit or landed is None or not pa.types.is_string(landed.type):
            continue
        text = str(landed.drop_null()[0])
        form = "%Y-%m-%d" if len(text) == 10 else "%Y-%m-%d" + text[10] + ("%H:%M" if len(text) == 16 else "%H:%M:%S")
        found += [form, f"{form}.%f", f"{form}%z", f"{form}.%f%z"] if len(text) > 16 else [form]
    return list(dict.fromkeys(found))


def span_text(seconds: int) -> str:
    """A length of time as declarations have it."""
    return format_duration(timedelta(seconds=seconds))


def _start(key: str) -> str:
    return f'"{key[:10]}T{key[11:]}"' if len(key) > 10 else key


def _flow(value: Any) -> str:
    return flow_value(value) if not (isinstance(value, str) and value.isalnum() and not value.isdigit()) else value
