import json

from hypothesis import given
from hypothesis import strategies as st

from tidegate.wire.codec import decode, encode
from tidegate.wire.judgement import Alarm, AlarmState, Kpi, Outcome, Severity, Verdict
from tidegate.wire.reasons import Reason

KPI = {
    "service": "shop",
    "cohort": "canary",
    "subject": "svc/shop",
    "placement": "p1",
    "version": "v2",
    "window_s": 1,
    "start_ms": 1_000,
    "end_ms": 2_000,
    "requests": 10,
    "errors": 1,
    "nodes": 2,
    "nodes_expected": 2,
}
FLOATS = ("coverage", "rate", "error_ratio", "p50_ms", "p95_ms", "p99_ms")


@given(
    st.lists(st.integers(0, 100), min_size=6, max_size=6),
    st.dictionaries(st.sampled_from(["gauge.queue", "ratio.cache"]), st.floats(0, 9)),
)
def test_a_kpi_is_one_flat_object_without_arrays_whose_floats_stay_floats(numbers, values):
    kpi = Kpi(**KPI, **{name: float(number) for name, number in zip(FLOATS, numbers, strict=True)}, values=values)
    flat = json.loads(kpi.flat())
    assert all(isinstance(value, str | int | float) for value in flat.values())
    assert all(isinstance(flat[name], float) for name in (*FLOATS, *values))
    assert flat["id"] == "shop/canary/1/2000"
    assert "values" not in flat


def test_ids_are_made_of_facts_so_that_a_repeated_record_is_the_same_record():
    verdict = Verdict(
        subject="svc/shop",
        service="shop",
        epoch=1,
        generation=3,
        rollout="r.1",
        placement="p1",
        stage=0,
        outcome=Outcome.FAIL,
        reason=Reason.GROSS_ERRORS,
        last_pane_ms=2_000,
    )
    assert verdict.id == "p1/3/fail/gross_errors/2000"
    assert decode(encode(verdict), Verdict) == verdict
    alarm = Alarm(
        id="coverage_lost/shop/rest",
        writer="judge",
        name="coverage_lost",
        state=AlarmState.FIRING,
        severity=Severity.WARNING,
        start_ms=1,
    )
    assert alarm.key == "judge/coverage_lost/shop/rest"
    assert decode(encode(alarm), Alarm) == alarm
