"""A run's log as JSON lines, by a setting: each line is one object that says of which run, asset and partition it is."""

import json
import logging
from pathlib import Path

import dagster as dg
import pytest

from orchestrai.defs.instance import open_instance
from orchestrai.defs.platform.json_log import JsonLines
from orchestrai.errors import ConfigError
from orchestrai.pipeline.instance.instance_options import InstanceOptions


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["2026-10-01"]))
def told(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    context.log.info('first\nsecond "quoted"')
    return dg.MaterializeResult(metadata={"dagster/row_count": 3})


def test_each_line_is_an_object_that_names_run_asset_and_partition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with open_instance(tmp_path, InstanceOptions(log_format="json")) as instance:
        done = dg.materialize([told], instance=instance, partition_key="2026-10-01")
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    ours = [line for line in lines if line.get("message", "").startswith("first")]
    assert [line["message"] for line in ours] == ['first\nsecond "quoted"']
    assert (ours[0]["run"], ours[0]["step"], ours[0]["partition"]) == (done.run_id, "told", "2026-10-01")
    (event,) = [line for line in lines if line.get("event") == "ASSET_MATERIALIZATION"]
    assert (event["run"], event["asset"], event["partition"]) == (done.run_id, "told", "2026-10-01")


def test_a_record_of_anybody_else_is_a_line_too() -> None:
    try:
        raise ValueError("wrong")
    except ValueError as exc:
        record = logging.LogRecord(
            "other", logging.ERROR, __file__, 1, "went %s", ("wrong",), (type(exc), exc, exc.__traceback__)
        )
    line = JsonLines().format(record)
    told = json.loads(line)
    assert "\n" not in line and told["message"] == "went wrong" and "ValueError" in told["traceback"]


def test_another_format_is_refused() -> None:
    with pytest.raises(ConfigError, match="ORCHESTRAI_LOG_FORMAT"):
        InstanceOptions(log_format="xml")
