"""Why: one closed list for judgements and decisions.

The same member stands in the record, the metric label, the log line and what a person reads. Members are added, never
renamed; a reader that meets an unknown one shows its text and holds.
"""

from enum import StrEnum


class Reason(StrEnum):
    """One cause of a verdict or of a decision."""

    # verdicts: pass
    CLEAN = "clean"
    CLEAN_WITHOUT_BASELINE = "clean_without_baseline"
    # verdicts: fail
    GROSS_ERRORS = "gross_errors"
    LIMIT_BROKEN = "limit_broken"
    EVIDENCE = "evidence"
    START_FAILED = "start_failed"
    CRASHED = "crashed"
    SILENT = "silent"
    IDLE_TOO_LONG = "idle_too_long"
    # verdicts: hold
    TOO_FEW_REQUESTS = "too_few_requests"
    WARMING_UP = "warming_up"
    ENVIRONMENT = "environment"
    IDLE = "idle"
    PARTLY_SILENT = "partly_silent"
    BOTH_SILENT = "both_silent"
    TELEMETRY_DOWN = "telemetry_down"
    LATE = "late"
    SKEWED = "skewed"
    STATE_LOST = "state_lost"
    ONE_NODE_ONLY = "one_node_only"
    RETREATING = "retreating"
    # decisions: forward
    PLAN_ACCEPTED = "plan_accepted"
    PLAN_QUEUED = "plan_queued"
    STARTED = "started"
    BATCH_READY = "batch_ready"
    STAGE_PASSED = "stage_passed"
    NEWCOMERS = "newcomers"
    REPORTING_AGAIN = "reporting_again"
    BURNED_OUT = "burned_out"
    EVIDENCE_FADED = "evidence_faded"
    GATE_OPENED = "gate_opened"
    GATE_TIMED_OUT = "gate_timed_out"
    WATCH_OVER = "watch_over"
    SUPERSEDED = "superseded"
    ASKED = "asked"
    # decisions: stop and back
    GATE = "gate"
    VERDICT_FAILED = "verdict_failed"
    DEADLINE = "deadline"
    ALARM_OPEN = "alarm_open"
    UNREACHABLE = "unreachable"
    NODE_FAILED = "node_failed"
    FLEET_BACK = "fleet_back"
    FLEET_PARTLY_BACK = "fleet_partly_back"
    TAKEOVER = "takeover"
    # what an advance still waits for
    PREFETCHING = "prefetching"
    NOT_READY = "not_ready"
    BAKING = "baking"
    NO_VERDICT = "no_verdict"
    STALE_VERDICT = "stale_verdict"
    NOT_CERTIFIED = "not_certified"
    FROZEN = "frozen"
    BUDGET_SPENT = "budget_spent"
    DWELLING = "dwelling"
    NOT_APPROVED = "not_approved"
    NODES_BUSY = "nodes_busy"
    # refusals
    BAD_SIGNATURE = "bad_signature"
    BAD_DOCUMENT = "bad_document"
    WRONG_FLEET = "wrong_fleet"
    EXPIRED = "expired"
    DUPLICATE = "duplicate"
    STALE_GENERATION = "stale_generation"
    NOTHING_TO_DO = "nothing_to_do"
    ALREADY_RUNNING = "already_running"
    NO_ELIGIBLE_NODES = "no_eligible_nodes"
    WRONG_ROLLBACK_TARGET = "wrong_rollback_target"
    SAME_VERSION = "same_version"
    QUARANTINED = "quarantined"
    NOT_ALLOWED = "not_allowed"
    UNKNOWN = "unknown"
