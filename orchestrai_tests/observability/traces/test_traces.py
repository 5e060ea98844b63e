"""Spans of a run, as a collector receives them: run, stages, partitions; and a collector that is down costs no run."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from orchestrai.defs.build import build_definitions
from orchestrai.defs.launch.backfill import backfill
from orchestrai.defs.platform.run_traces import build_trace_sensors, send_run_span
from orchestrai.errors import ConfigError, TransientStorageError
from orchestrai.ledger.report import Cost, PartitionOutcome, StageReport
from orchestrai.observability.traces.sender import PAUSE, Sender, headers_of
from orchestrai.observability.traces.span import Span, request_of, span_id, trace_id
from orchestrai.observability.traces.stage_trace import MOST_PARTITIONS, StageTrace
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai_tests.clouds.loopback import Reply, serving
from orchestrai_tests.provenance.small import DAYS, Small


class Collector:
    """Takes what is sent, and keeps it."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answer = 200
        self.url = ""

    def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        assert method == "POST"
        self.headers.append(dict(headers.items()))
        self.bodies.append(json.loads(body))
        return self.answer, {}, {}

    def spans(self) -> list[dict[str, Any]]:
        return [
            span
            for body in self.bodies
            for part in body["resourceSpans"]
            for scope in part["scopeSpans"]
            for span in scope["spans"]
        ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    with serving(made.ask) as url:
        made.url = f"{url}/v1/traces"
        yield made


def test_a_backfill_is_a_trace_of_run_stages_and_partitions(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACES_TOKEN", "authorization=Bearer canary-token")
    small = Small.at(tmp_path)
    small.land(*DAYS[:2])
    settings = Settings(home=small.home, traces_url=collector.url, traces_headers="env://TRACES_TOKEN")
    runtime = Runtime(settings, small.runtime.project)
    definitions = build_definitions(runtime)
    with dg.DagsterInstance.ephemeral() as instance:
        (pipeline,) = runtime.project.pipelines
        (run,) = backfill(definitions, runtime, instance, pipeline, DAYS[0], DAYS[1], models=False)
        assert run.success
        # told once, however often it is looked at
        assert not send_run_span(settings, instance, run.run_id)
    spans = {span["spanId"]: span for span in collector.spans()}
    assert len(spans) == len(collector.spans()) and {span["traceId"] for span in spans.values()} == {trace_id(run.run_id)}
    (root,) = [span for span in spans.values() if "parentSpanId" not in span]
    stages = [span for span in spans.values() if span.get("parentSpanId") == root["spanId"]]
    assert {"small/readings/raw_events", "small/readings/snapshot", "small/readings/restored"} <= {
        span["name"] for span in stages
    }
    for stage in stages:
        inside = [span for span in spans.values() if span.get("parentSpanId") == stage["spanId"]]
        if stage["name"].endswith(("raw_events", "snapshot", "restored")):
            assert {span["name"] for span in inside} == {f"{stage['name']}@{day}" for day in DAYS[:2]}
        for span in (stage, *inside):
            parent = spans[span["parentSpanId"]]
            assert int(parent["startTimeUnixNano"]) - 10**9 <= int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
    assert {header["authorization"] for header in map(lowered, collector.headers)} == {"Bearer canary-token"}
    assert "canary-token" not in json.dumps(collector.bodies)
    assert len(build_trace_sensors(settings)) == 3 and not build_trace_sensors(Settings(home=tmp_path))


def lowered(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def trace_of(partitions: list[str], times: list[int]) -> StageTrace:
    ticks = iter(times)
    return StageTrace("r1", "churn/orders/raw_events", "raw_events", partitions, lambda: next(ticks))


def report_of(*outcomes: PartitionOutcome) -> StageReport:
    return StageReport("churn/orders/raw_events", "sha256:aa", outcomes, Cost(1.0, 0.5, 10, 20))


def test_a_partition_lasts_from_its_begin_to_the_next_one_s_and_a_refused_one_is_an_error() -> None:
    trace = trace_of(["2026-01-01", "2026-01-02"], [0, 10, 30, 60])
    trace.told("churn/orders/raw_events@2026-01-01", 0, 2)
    trace.told("churn/orders/raw_events@2026-01-02", 1, 2)
    trace.told("churn/orders/raw_events@2026-01-02", 1, 2)
    stage, first, second = trace.spans(
        report_of(PartitionOutcome("2026-01-01", True, rows=5, size=7), PartitionOutcome("2026-01-02", False))
    )
    assert (stage.begin, stage.end, stage.status) == (0, 60, "error")
    assert (first.begin, first.end, first.status, first.attributes["orchestrai.rows"]) == (10, 30, "ok", 5)
    assert (second.begin, second.end, second.status) == (30, 60, "error")
    assert first.parent == second.parent == stage.id and stage.parent == span_id("r1")


def test_a_stage_that_failed_says_so_and_what_it_had_begun() -> None:
    trace = trace_of(["a", "b"], [0, 10, 20])
    trace.told("restore a", 0, 3)
    stage, begun = trace.spans(None)
    assert stage.status == begun.status == "error" and (begun.begin, begun.end) == (10, 20)


def test_partitions_done_together_last_as_long_as_the_stage_and_of_thousands_the_newest_are_told() -> None:
    keys = [f"{number:05d}" for number in range(3650)]
    stage, *inside = trace_of(keys, [0, 9]).spans(report_of(*(PartitionOutcome(key, True) for key in keys)))
    assert len(inside) == MOST_PARTITIONS and stage.attributes["orchestrai.partitions_left_out"] == 3650 - MOST_PARTITIONS
    assert {(span.begin, span.end, span.attributes["orchestrai.timed"]) for span in inside} == {(0, 9, "together")}
    assert inside[-1].attributes["orchestrai.partition"] == keys[-1]


def test_what_is_sent_is_opentelemetry_s_own_message() -> None:
    messages = pytest.importorskip(
        "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="opentelemetry-proto is not installed"
    )
    from google.protobuf.json_format import ParseDict

    span = Span(trace_id("r"), span_id("r", "a"), span_id("r"), "a", 5, 2, {"n": 2**40, "t": "x", "b": True}, "error")
    body = request_of([span], {"service.name": "orchestrai"})
    sent = body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    # OTLP's JSON has ids in hex, where protobuf's has base64
    for name in ("traceId", "spanId", "parentSpanId"):
        sent[name] = base64.b64encode(bytes.fromhex(sent[name])).decode()
    read = ParseDict(body, messages.ExportTraceServiceRequest()).resource_spans[0]
    (told,) = read.scope_spans[0].spans
    assert (told.trace_id.hex(), told.span_id.hex(), told.status.code) == (span.trace, span.id, 2)
    assert told.start_time_unix_nano == told.end_time_unix_nano == 5
    assert [(a.key, a.value.WhichOneof("value")) for a in told.attributes] == [
        ("b", "bool_value"), ("n", "int_value"), ("t", "string_value"),
    ]  # fmt: skip


def test_a_collector_that_is_down_is_left_alone_for_a_while_and_then_asked_again(collector: Collector) -> None:
    now = [0.0]
    span = [Span(trace_id("r"), span_id("r"), "", "a", 1, 2)]
    sender = Sender(collector.url, clock=lambda: now[0])
    collector.answer = 503
    assert not sender.send(span) and not sender.send(span) and len(collector.bodies) == 1
    collector.answer = 200
    now[0] = PAUSE + 1
    assert sender.send(span) and len(collector.bodies) == 2
    collector.answer = 307
    assert not sender.send(span)
    assert not Sender("http://127.0.0.1:9/v1/traces").send(span)


def test_a_store_of_secrets_that_is_down_costs_no_run_either(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(reference: str) -> str:
        raise TransientStorageError(f"expected the store of {reference} to answer, found status 503: try again")

    monkeypatch.setattr("orchestrai.observability.traces.sender.resolve_secret", down)
    span = [Span(trace_id("r"), span_id("r"), "", "a", 1, 2)]
    assert not Sender(collector.url, "awssm://collector").send(span) and not collector.bodies


@pytest.mark.parametrize("url", ["http://collector.example/v1/traces", "ftp://x", "collector:4318"])
def test_spans_go_nowhere_in_clear_but_to_this_machine(url: str) -> None:
    with pytest.raises(ConfigError, match="ORCHESTRAI_TRACES_URL"):
        Sender(url)


def test_headers_are_pairs_and_a_mistake_in_them_is_not_shown() -> None:
    assert headers_of("a=b, c = d=e") == {"a": "b", "c": "d=e"}
    with pytest.raises(ConfigError) as told:
        headers_of("canary")
    assert "canary" not in told.value.message


@pytest.mark.thorough("test_a_backfill_is_a_trace_of_run_stages_and_partitions")
def test_nothing_of_it_is_imported_where_no_collector_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; from orchestrai.defs.build import build_definitions; from orchestrai.pipeline.runtime import Runtime;"
        "from orchestrai.settings import Settings; build_definitions(Runtime(Settings(home=sys.argv[1])));"
        "assert not [name for name in sys.modules if 'orchestrai.observability.traces' in name]"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=Path(__file__).resolve().parents[3])
