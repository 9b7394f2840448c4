"""The rules for Prometheus: its own checks, a test of each alert, and a page that says what to do about each.

What needs Prometheus's own tool is a scenario: the fast tests run on a machine that has nothing and no network.
"""

import re
from pathlib import Path

import pytest
import yaml
from tests.prometheus.roles import PAGE, metrics, page
from tests.prometheus.server import DEPLOYED, promtool

from tidegate.alarms.catalogue import kinds

ROOT = Path(__file__).parents[2]
TESTS = Path(__file__).parent / "rules"
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load((DEPLOYED / "rules/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}
RECORDED = [
    rule["record"]
    for group in yaml.safe_load((DEPLOYED / "rules/recording.yml").read_text())["groups"]
    for rule in group["rules"]
]
TESTED = {
    one["expr"]
    for entry in yaml.safe_load((TESTS / "recording.yml").read_text())["tests"]
    for one in entry["promql_expr_test"]
    if one["exp_samples"]
}
SEEN = [
    (one["alertname"], one["exp_alerts"])
    for entry in yaml.safe_load((TESTS / "alerts.yml").read_text())["tests"]
    for one in entry["alert_rule_test"]
]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
HEADINGS = re.findall(r"^### (\S+)$", RUNBOOK, re.MULTILINE)


@pytest.mark.scenario
def test_prometheus_takes_its_configuration_and_the_rules():
    assert "SUCCESS" in promtool("check", "config", str(DEPLOYED / "prometheus.yml"))
    promtool("check", "rules", "--lint-fatal", *map(str, sorted((DEPLOYED / "rules").glob("*.yml"))))


@pytest.mark.scenario
def test_every_rule_does_what_its_own_test_says():
    promtool("test", "rules", *map(str, sorted(TESTS.glob("*.yml"))))


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_is_seen_quiet_and_firing(name):
    assert {bool(alerts) for alert, alerts in SEEN if alert == name} == {False, True}


@pytest.mark.parametrize("name", RECORDED)
def test_every_recording_rule_has_a_test(name):
    assert name in TESTED


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_how_loud_it_is_and_where_it_is_explained(name):
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"].endswith((".", "metrics."))
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"


def test_no_alert_of_the_control_plane_names_a_service_or_it_would_stop_rollouts():
    assert [name for name, rule in ALERTS.items() if "service" in rule["labels"] or "tidegate" in rule["labels"]] == []


def test_the_runbook_has_every_alert_and_every_alarm_and_nothing_that_is_none():
    assert [one for one in HEADINGS if one[0].isupper()] == [*ALERTS]
    assert [one for one in HEADINGS if one[0].islower()] == [kind.name for kind in kinds()]
    for name, section in re.findall(r"^### (\S+)\n(.*?)(?=\n##|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL):
        assert len(section) > 60, name


def test_the_page_of_metrics_is_what_the_roles_register():
    text = PAGE.read_text()
    assert page(text) == text, "write it anew: PYTHONPATH=. .venv/bin/python -m tests.prometheus.roles"


def test_every_metric_that_rules_and_the_runbook_name_exists():
    known = {one.name for found in metrics().values() for one in found}
    for path in (*(DEPLOYED / "rules").glob("*.yml"), ROOT / "docs/runbook.md", ROOT / "docs/alarms.md"):
        named = set(re.findall(r"(?<![\w:])tidegate_[a-z0-9_]+(?![\w:*])", path.read_text()))
        groups = set(re.findall(r"name: (\w+)", path.read_text()))
        assert not {one for one in named - known - groups if not one.endswith("_")}, path
