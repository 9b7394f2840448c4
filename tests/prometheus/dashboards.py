"""The dashboards of deploy/grafana: ``PYTHONPATH=. .venv/bin/python -m tests.prometheus.dashboards`` writes them.

Every API process shows the same KPIs, so queries take ``max by`` over them. What each metric means: docs/metrics.md.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from tests.prometheus.panels import KAFKA_TYPE, Json, Query, dashboard, lines, live, name, number, states, table, variable

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"
OF = 'service="$service"'


def rollout() -> Json:
    """One service's rollout."""
    panels = [
        name("Phase", Query(f"max by (phase) (tidegate_rollout_phase{{{OF}}}) == 1", "{{phase}}")),
        number("Stage", Query(f"max(tidegate_rollout_stage{{{OF}}})", "stage")),
        number("Stages", Query(f"max(tidegate_rollout_stages{{{OF}}})", "stages")),
        name("Verdict", Query(f"max by (outcome, reason) (tidegate_rollout_verdict{{{OF}}})", "{{outcome}}: {{reason}}")),
        number("Generation", Query(f"max(tidegate_rollout_generation{{{OF}}})")),
        number("Plans that wait", Query(f"max(tidegate_rollout_queued_plans{{{OF}}})")),
        table("Under way", Query(f"max by (rollout, version, settled) (tidegate_rollout_info{{{OF}}})"), width=12, height=5),
        table("Cohorts", Query(f"max by (cohort, version) (tidegate_kpi_info{{{OF}}})"), width=12, height=5),
        lines(
            "Errors by cohort",
            Query(f"max by (cohort) (tidegate_kpi_error_ratio{{{OF}}})", "{{cohort}}"),
            unit="percentunit",
            about="Of the last 10 s. A line that stops has had no request.",
        ),
        lines("p95 by cohort", Query(f"max by (cohort) (tidegate_kpi_latency_p95_seconds{{{OF}}})", "{{cohort}}"), unit="s"),
        lines(
            "Canary's quantiles",
            *(Query(f'max(tidegate_kpi_latency_{q}_seconds{{{OF}, cohort="canary"}})', q) for q in ("p50", "p95", "p99")),
            unit="s",
        ),
        lines("Requests by cohort", Query(f"service_cohort:tidegate_kpi_requests:rate1m{{{OF}}}", "{{cohort}}"), unit="reqps"),
        lines(
            "Canary beside control",
            Query(f"service:tidegate_kpi_error_ratio:canary_minus_control{{{OF}}}", "errors, difference"),
            unit="percentunit",
        ),
        lines(
            "Canary's p95, times control's",
            Query(f"service:tidegate_kpi_latency_p95_seconds:canary_per_control{{{OF}}}", "ratio"),
        ),
        lines(
            "Evidence against the canary",
            Query(f"max by (family) (tidegate_rollout_evidence_nats{{{OF}}})", "{{family}}"),
            Query(f"max by (family) (tidegate_rollout_evidence_threshold_nats{{{OF}}})", "{{family}}: fail"),
            about="Natural logarithm of the evidence; beyond the threshold of its family the verdict is a fail.",
        ),
        lines(
            "Scores",
            Query(f"max by (cohort, metric) (abs(tidegate_score_deviations{{{OF}}}))", "{{cohort}} {{metric}}"),
            about="How unlike its own past each KPI is, in robust standard deviations. Scores decide nothing.",
        ),
        lines("Nodes ready", Query(f'max by (cohort) (tidegate_rollout_nodes{{{OF}, state="ready"}})', "{{cohort}}")),
        states("What the advance waits for", Query(f"max by (reason) (tidegate_rollout_blocked{{{OF}}})", "{{reason}}")),
        states("Phase over time", Query(f"max by (phase) (tidegate_rollout_phase{{{OF}}}) == 1", "{{phase}}")),
        lines("Coverage", Query(f"max by (cohort) (tidegate_kpi_coverage_ratio{{{OF}}})", "{{cohort}}"), unit="percentunit"),
    ]
    of_service = variable("service", "tidegate_rollout_phase")
    return dashboard(
        "tidegate-rollout",
        "Tidegate: rollout",
        panels,
        [of_service],
        about="One service: canary beside control, and why.",
        marked=OF,
    )


def fleet() -> Json:
    """All services, all nodes, what fires."""
    panels = [
        *(
            number(title, Query(f'max(tidegate_fleet_nodes{{state="{state}"}})'), bad=bad)
            for title, state, bad in (
                ("Nodes reachable", "reachable", None),
                ("Unreachable", "unreachable", 1),
                ("Never seen", "never_seen", None),
                ("Cordoned", "cordoned", None),
            )
        ),
        number("Frozen agents", Query("max(tidegate_fleet_frozen_nodes)"), bad=1),
        number("Oldest report", Query("max(tidegate_fleet_report_age_max_seconds)"), bad=60, unit="s"),
        table("Services", Query("max by (service, phase) (tidegate_rollout_phase) == 1"), width=12),
        table("Alarms that fire", Query("max by (severity, service, alarm, writer) (tidegate_alarms_firing)"), width=12),
        lines(
            "Nodes by version",
            Query(
                "sum by (service, version) (max by (service, version, state) (tidegate_fleet_service_nodes))",
                "{{service}} {{version}}",
            ),
        ),
        lines(
            "Nodes by state",
            Query(
                "sum by (service, state) (max by (service, version, state) (tidegate_fleet_service_nodes))",
                "{{service}} {{state}}",
            ),
        ),
        lines("Requests", Query("service:tidegate_kpi_requests:rate1m", "{{service}}"), unit="reqps"),
        lines("Errors", Query("service:tidegate_kpi_errors:ratio_rate1m", "{{service}}"), unit="percentunit"),
        lines(
            "What nodes do",
            Query("sum by (kind, result) (rate(tidegate_node_actions_total[$__rate_interval]))", "{{kind}} {{result}}"),
            unit="ops",
        ),
        lines("Reports", Query("sum(rate(tidegate_node_reports_total[$__rate_interval]))", "reports"), unit="ops"),
    ]
    return dashboard("tidegate-fleet", "Tidegate: fleet", panels, about="Every service and every node.")


def flags() -> Json:
    """Flags, what their variants do, and who serves them."""
    of = 'set="$set"'
    panels = [
        number("Flags", Query(f"count(max by (set, flag) (tidegate_flag_generation{{{of}}}))")),
        number("Pinned", Query(f"sum(max by (set, flag) (tidegate_flag_pinned{{{of}}}))"), about="Killed or switched off."),
        number("Age of flags", Query("max(tidegate_api_flags_age_seconds)"), bad=60, unit="s"),
        name("Ramps", Query(f"max by (flag, phase) (tidegate_flag_phase{{{of}}})", "{{flag}}: {{phase}}")),
        lines(
            "Share of the new variant",
            Query(f"max by (flag) (tidegate_flag_share_ratio{{{of}}})", "{{flag}}"),
            unit="percentunit",
            width=8,
        ),
        lines(
            "Share that stages have given",
            Query(f"max by (flag) (tidegate_flag_held_ratio{{{of}}})", "{{flag}}"),
            unit="percentunit",
        ),
        lines(
            "Requests by variant",
            Query(
                f"max by (flag, service, variant) (rate(tidegate_flag_requests_total{{{of}}}[$__rate_interval]))",
                "{{flag}} {{variant}} ({{service}})",
            ),
            unit="reqps",
        ),
        lines(
            "Errors by variant",
            Query(f"max by (flag, service, variant) (tidegate_flag_error_ratio{{{of}}})", "{{flag}} {{variant}} ({{service}})"),
            unit="percentunit",
        ),
        lines(
            "p95 by variant",
            Query(
                f"max by (flag, service, variant) (tidegate_flag_latency_p95_seconds{{{of}}})",
                "{{flag}} {{variant}} ({{service}})",
            ),
            unit="s",
        ),
        lines(
            "OFREP answers",
            Query("sum by (route, status) (rate(tidegate_api_ofrep_answers_total[$__rate_interval]))", "{{route}} {{status}}"),
            unit="reqps",
        ),
        lines("Open streams", Query("sum by (kind) (tidegate_api_subscribers)", "{{kind}}")),
    ]
    return dashboard(
        "tidegate-flags",
        "Tidegate: flags",
        panels,
        [variable("set", "tidegate_flag_generation")],
        marked='subject=~"flag/$set/.+"',
    )


def plane() -> Json:
    """The control plane's own health."""
    each = "[$__rate_interval]"
    panels = [
        number("Leaders", Query("sum(tidegate_decide_leading)"), about="Exactly one."),
        number("Judge behind", Query("tidegate:judge_lag_seconds:max"), bad=15, unit="s"),
        number("API behind", Query("max(tidegate_api_model_lag_seconds)"), bad=10, unit="s"),
        number("Unanswered", Query("max(tidegate_decide_waiting)"), bad=1),
        number("Notices failing", Query("max(tidegate_notify_failing)"), bad=3),
        number("Alarms firing", Query("max(tidegate_notify_alarms_firing)")),
        states("Roles that answer", Query('sum by (role) (up{job="tidegate"})', "{{role}}")),
        lines("Node-seconds", Query("tidegate:intake_rows:rate1m", "accepted"), unit="ops"),
        lines("Records that wait", Query("role_topic:tidegate_worker_lag_records:sum", "{{role}} {{topic}}")),
        lines(
            "Rows by what became of them",
            Query(f"sum by (outcome) (rate(tidegate_judge_rows_total{each}))", "{{outcome}}"),
            unit="ops",
        ),
        lines("Dead letters in 5 minutes", Query("role:tidegate_deadletters:increase5m", "{{role}}")),
        lines(
            "What the judge writes",
            Query(f"sum(rate(tidegate_judge_kpis_total{each}))", "KPIs"),
            Query(f"sum(rate(tidegate_judge_scores_total{each}))", "scores"),
            Query(f"sum by (outcome) (rate(tidegate_judge_verdicts_total{each}))", "{{outcome}}"),
            unit="ops",
        ),
        lines("Decisions", Query(f"sum by (kind) (rate(tidegate_decisions_total{each}))", "{{kind}}"), unit="ops"),
        lines("Epoch", Query("max(tidegate_decide_epoch)", "epoch"), about="A step is a change of leaders."),
        lines("Clocks off", Query("max by (instance) (tidegate_decide_clock_off_seconds)", "{{instance}}"), unit="s"),
        lines("Author unheard by nodes", Query("max(tidegate_node_author_silent_seconds)", "longest"), unit="s"),
        lines(
            "Checkpoints",
            Query("max by (role) (tidegate_judge_checkpoint_bytes)", "{{role}}"),
            Query("max by (role) (tidegate_experiment_checkpoint_bytes)", "{{role}}"),
            unit="bytes",
        ),
        lines(
            "API answers", Query(f"sum by (status) (rate(tidegate_api_control_answers_total{each}))", "{{status}}"), unit="reqps"
        ),
        lines(
            "Notices",
            Query(f"sum by (target, outcome) (rate(tidegate_notify_notices_total{each}))", "{{target}} {{outcome}}"),
            unit="ops",
        ),
        lines(
            "Alerts from outside", Query(f"sum by (outcome) (rate(tidegate_api_alerts_total{each}))", "{{outcome}}"), unit="ops"
        ),
        lines(
            "CPU",
            Query(f'sum by (role) (rate(process_cpu_seconds_total{{job="tidegate"}}{each}))', "{{role}}"),
            about="Seconds of a core in a second.",
        ),
        lines("Memory", Query('sum by (role) (process_resident_memory_bytes{job="tidegate"})', "{{role}}"), unit="bytes"),
    ]
    return dashboard("tidegate-plane", "Tidegate: control plane", panels, about="Is Tidegate itself well? docs/runbook.md")


def straight() -> Json:
    """KPIs, scores and verdicts as they are written, without Prometheus between: each second is there within a second."""
    panels = [
        live("Errors, as they are measured", "tidegate.kpis", "error_ratio", unit="percentunit", width=12),
        live("Latency", "tidegate.kpis", "p50_ms", "p95_ms", "p99_ms", unit="ms", width=12),
        live("Requests a second", "tidegate.kpis", "rate", unit="reqps", width=12),
        live("Scores", "tidegate.scores", "score", width=12),
        live("Evidence", "tidegate.verdicts", "log_e", width=12),
        live("Requests behind a verdict", "tidegate.verdicts", "canary_requests", "control_requests", width=12),
    ]
    about = f"Needs the plugin {KAFKA_TYPE}. A live view of all services, without a past."
    return dashboard("tidegate-live", "Tidegate: live from Kafka", panels, about=about)


DASHBOARDS = {"rollout": rollout, "fleet": fleet, "flags": flags, "plane": plane, "live": straight}


def files() -> Iterator[tuple[Path, str]]:
    """Each file with what is to stand in it."""
    for file, make in DASHBOARDS.items():
        yield FOLDER / f"{file}.json", json.dumps(make(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in files():
        path.write_text(text)
