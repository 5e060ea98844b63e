"""A canary in every field that takes a secret, and every place that anybody reads searched for it: it is nowhere."""

import base64
import json
import logging
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import pytest
from typer.testing import CliRunner

from orchestrai.cli.app import app
from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.build import build_definitions
from orchestrai.defs.instance import open_instance
from orchestrai.errors import OrchestraiError
from orchestrai.observability.alerts.alert_changes import Alert, Message
from orchestrai.observability.alerts.alert_settings import WEBHOOK, tellers_of
from orchestrai.observability.alerts.condition import Condition
from orchestrai.observability.alerts.condition_kinds import KINDS
from orchestrai.pipeline.instance.instance_options import instance_options
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai_tests.observability.metrics.test_exporter import CONTRACT

PIPELINE = """
pipeline: secret
datasets:
  - name: items
    source: {url: "http://127.0.0.1:9/items", format: http, records: items,
             http: {retries: 0, allow_private: true, token_env: CANARY_TOKEN, headers: {X-Key: "env://CANARY_HEADER"}, params: {k: "env://CANARY_PARAM"}}}
    contract: r.contract.yaml
    backup: {every: "0 2 * * *"}
    partitions: {grain: all}
    retries: {max: 0}
  - name: rows
    source: {url: "env://CANARY_DSN", format: sql, sql: {table: readings, watermark: ts, key: [device_id, ts], retries: 0}}
    contract: r.contract.yaml
    backup: {every: "0 2 * * *"}
    partitions: {grain: day, start: 2026-10-01, end: 2026-11-01}
    retries: {max: 0}
  - name: stream
    source: {url: "kafka://127.0.0.1:9/t", format: jsonl,
             stream: {security: SASL_SSL, mechanism: PLAIN, username: "env://CANARY_USER", password: "env://CANARY_PASSWORD", ca: "env://CANARY_CA"}}
    contract: r.contract.yaml
    backup: {every: "0 2 * * *"}
    partitions: {grain: day, start: 2026-10-01, end: 2026-11-01}
  - name: remote
    source: {url: "http://127.0.0.1:9/items", format: http, records: items, http: {retries: 0, allow_private: true, headers: {X-Key: "vault://secret/item#key"}}}
    contract: r.contract.yaml
    backup: {every: "0 2 * * *"}
    partitions: {grain: all}
    retries: {max: 0}
"""
FIELDS = ("TOKEN", "HEADER", "PARAM", "USER", "PASSWORD", "CA", "ALERT", "VAULT")
RUN = ("secret/items/raw_events", "secret/rows/raw_events", "secret/remote/raw_events")


def canary(name: str) -> str:
    """A text that nothing else has in it; its odd characters show what was escaped on the way."""
    return f"canary-{name.lower()}-5f/3a+9c"


def forms(secret: str) -> set[bytes]:
    """As it may be written: plain, in a URL, in JSON, in base64."""
    found = {
        secret,
        quote(secret),
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        base64.b64encode(secret.encode()).decode(),
    }
    return {form.encode() for form in found}


def test_no_canary_is_written_shown_or_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    for name in FIELDS:
        monkeypatch.setenv(f"CANARY_{name}", canary(name))
    monkeypatch.setenv("CANARY_ALERT", f"http://127.0.0.1:9/{canary('ALERT')}")
    secrets = [canary(name) for name in FIELDS] + [canary("dsn")]
    monkeypatch.setenv("CANARY_DSN", f"postgresql://loader:{quote(canary('dsn'), safe='')}@127.0.0.1:9/shop")
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:9")
    monkeypatch.setenv("VAULT_TOKEN", canary("VAULT"))
    folder = tmp_path / "pipelines" / "secret"
    folder.mkdir(parents=True)
    (folder / "pipeline.yaml").write_text(PIPELINE)
    (folder / "r.contract.yaml").write_text(CONTRACT)
    project = load_project([folder], {})
    assert not project.left_out, project.left_out[0].message
    settings = Settings(home=tmp_path / "home", alert_url="env://CANARY_ALERT", log_format="json")
    runtime = Runtime(settings, project)
    shown: list[str] = []
    with caplog.at_level(logging.DEBUG), open_instance(settings.home, instance_options(settings)) as instance:
        definitions = build_definitions(runtime)
        job = definitions.resolve_implicit_global_asset_job_def()
        for asset in RUN:
            key = asset_key(asset)
            partition = "2026-10-01" if "rows" in asset else None
            done = definitions.resolve_job_def(job.name).execute_in_process(
                instance=instance, asset_selection=[key], partition_key=partition, raise_on_error=False
            )
            # nothing listens there: each fails where it used its secret, and says why
            assert not done.success
            events = instance.all_logs(done.run_id)
            shown += [event.user_message + str(event.dagster_event) for event in events]
        tellers = tellers_of(settings)
        alert = Alert(Condition(sorted(KINDS)[0], "a", "well", "unwell", "mend"), "2026-11-01T00:00:00+00:00")
        owed = Message("opened", alert, alert.opened, WEBHOOK, alert.opened)
        with pytest.raises(OrchestraiError) as refused:
            tellers.receivers[WEBHOOK].send(owed, tellers.wording)
        shown += [str(refused.value), repr(refused.getrepr(style="long", showlocals=False))]
        # what the webserver is given of definitions, configuration and runs
        shown += [dg.serialize_value(run) for run in instance.get_runs()] + [str(instance.info_dict())]
        repository = definitions.get_repository_def()
        from dagster._core.remote_representation.external_data import RepositorySnap

        shown.append(dg.serialize_value(RepositorySnap.from_def(repository)))
    for name, value in {"ORCHESTRAI_HOME": str(settings.home), "ORCHESTRAI_PIPELINES": str(folder.parent), "ORCHESTRAI_ALERT_URL": "env://CANARY_ALERT"}.items():  # fmt: skip # noqa: E501
        monkeypatch.setenv(name, value)
    for command in (
        ["check"],
        ["check", "--json"],
        ["doctor", "--json"],
        ["metrics"],
        ["report", "--json"],
        ["landing", "status", "--json"],
    ):
        answer = CliRunner().invoke(app, command)
        shown += [answer.output, str(answer.exception)]
    streams = capfd.readouterr()
    sinks = {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    sinks |= {
        "stdout": streams.out.encode(),
        "stderr": streams.err.encode(),
        "log": caplog.text.encode(),
        "shown": "\n".join(shown).encode(),
    }
    assert len(sinks) > 10 and any(b"env://CANARY_HEADER" in text for text in sinks.values())
    hits = [
        (place, secret) for place, text in sinks.items() for secret in secrets if any(form in text for form in forms(secret))
    ]
    assert hits == []
