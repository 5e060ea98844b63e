"""Rules and dashboard speak of what the exporter tells, and nothing else; promtool runs the rules' own tests."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from orchestrai.cli import app as commands
from orchestrai.observability.metrics.metric_names import METRICS

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
RULES = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"][0]["rules"]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
LABELS = {metric.name: {*metric.labels} for metric in METRICS}
NAME = re.compile(r"orchestrai[a-z0-9_:]*")
SELECTED = re.compile(r"(orchestrai[a-z0-9_:]*)\{([^}]*)\}")
with_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed: install the package prometheus"
)


def expressions() -> list[str]:
    """Every expression that is asked of Prometheus."""
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    asked = [entry["query"]["query"] for entry in DASHBOARD["templating"]["list"] if entry["type"] == "query"]
    return [*panels, *asked, *(rule["expr"] for rule in RULES)]


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_names_what_is_exported_with_its_labels(expression: str) -> None:
    names = {*NAME.findall(re.sub(r'"[^"]*"', '""', expression))}
    assert names and names <= {*LABELS, *RECORDED}
    for name, selectors in SELECTED.findall(expression):
        if name in LABELS:
            assert {*re.findall(r"([a-z_]+)\s*=~?", selectors)} <= LABELS[name], name


def test_each_alert_says_how_bad_it_is_what_mends_it_and_where_the_runbook_is() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    headings = {
        re.sub(r"[^a-z0-9]+", "-", line.lstrip("# ").lower()).strip("-")
        for line in page.splitlines()
        if line.startswith("#")
    }
    tops = {command.name for command in commands.app.registered_commands} | {
        group.name for group in commands.app.registered_groups
    }
    for rule in ALERTS:
        told = rule["annotations"]
        assert rule["labels"]["severity"] in ("warning", "page") and told["summary"], rule["alert"]
        assert told["runbook_url"].startswith("docs/deploy.md#") and told["runbook_url"].partition("#")[2] in headings, rule[
            "alert"
        ]
        program, command = told["command"].split()[:2]
        assert program in ("dagster", "dagster-daemon") or command in tops, rule["alert"]


def test_each_alert_has_a_test_in_which_it_fires() -> None:
    tests = yaml.safe_load((DEPLOY / "prometheus" / "rules_test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert fired == {rule["alert"] for rule in ALERTS}


@with_promtool
def test_promtool_accepts_rules_configuration_and_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    shown = [re.sub(r"\$\w+", ".*", target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
    rules = {
        "groups": [{"name": "shown", "rules": [{"record": f"a{number}", "expr": text} for number, text in enumerate(shown)]}]
    }
    (tmp_path / "shown.yml").write_text(yaml.safe_dump(rules))
    for command in (["rules", str(tmp_path / "shown.yml")], ["rules", "rules.yml"], ["config", "prometheus.yml"]):
        done = subprocess.run(["promtool", "check", *command], cwd=DEPLOY / "prometheus", capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@with_promtool
def test_promtool_runs_the_tests_of_the_rules() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", "rules_test.yml"], cwd=DEPLOY / "prometheus", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_lists_every_metric_as_it_is_exported() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    for metric in METRICS:
        assert f"| `{metric.name}` | {', '.join(metric.labels) or '-'} | {metric.help} |" in page
