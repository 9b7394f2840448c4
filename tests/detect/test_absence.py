"""Absence as a decision table: who says what for how long, and what follows (C6, C3, C4)."""

from collections.abc import Callable

import pytest
from tests.detect.healthy import NEW, OLD, START_MS, context, pane, row, run

from tidegate.detect.verdicts import judge
from tidegate.kpi.pane import NodePane, ServicePane
from tidegate.wire.absence import AbsenceRules, Idleness
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason
from tidegate.wire.telemetry import ServiceState

Script = Callable[[str, str, int], NodePane | None]
"""What a node's row is, by node, version and second since its trouble began at second 20; None: no row."""

TROUBLE = 20


def well(node: str, version: str, _second: int) -> NodePane | None:
    return row(node, version, requests=50)


def gone(_node: str, _version: str, _second: int) -> NodePane | None:
    return None


def mute(node: str, version: str, _second: int) -> NodePane | None:
    return row(node, version, telemetry=False)


def idle(node: str, version: str, _second: int) -> NodePane | None:
    return row(node, version, requests=0)


def changed(**fields: object) -> Script:
    """A change of its own began as the trouble did."""
    since = START_MS + TROUBLE * 1_000
    return lambda node, version, _second: row(node, version, **({"changed_ms": since, "telemetry": False} | fields))  # type: ignore[arg-type]


def slow_start(node: str, version: str, second: int) -> NodePane | None:
    """Drains, is away, comes up after 8 s and speaks 2 s later."""
    since = START_MS + TROUBLE * 1_000
    if second < 8:
        return row(node, version, telemetry=False, state=ServiceState.STARTING, changed_ms=since)
    return row(node, version, requests=50, telemetry=second >= 10, changed_ms=since)


def scene(
    canary: dict[str, Script], control: dict[str, Script], rest: dict[str, Script] | None = None
) -> Callable[[int], ServicePane]:
    def make(second: int) -> ServicePane:
        def rows(cohort: dict[str, Script], version: str) -> list[NodePane]:
            found = [
                (script if second >= TROUBLE else well)(node, version, second - TROUBLE)
                for node, script in sorted(cohort.items())
            ]
            return [item for item in found if item is not None]

        others = rest or {}
        expected = {"canary": tuple(canary), "control": tuple(control), "rest": tuple(others)}
        return pane(second, rows(canary, NEW), rows(control, OLD), rows(others, OLD), expected=expected)

    return make


def after(seconds: int, canary: dict[str, Script], control: dict[str, Script], **changes: object) -> Verdict:
    """The verdict when the trouble has lasted so many seconds."""
    placement = context(tuple(canary), tuple(control), default_guardrails=False, **changes)
    return run(scene(canary, control), TROUBLE + seconds, placement)[1][-1]


def cohort(size: int, **troubled: Script) -> dict[str, Script]:
    return {f"n{index:02}": well for index in range(size - len(troubled))} | troubled


ROLLBACK, PAUSE = Action.ROLLBACK, Action.PAUSE
ONE, OTHER = {"a": gone}, {"b": well}


@pytest.mark.parametrize(
    ("sentence", "seconds", "canary", "control", "outcome", "reason", "action"),
    [
        ("a second missed is a hold", 1, ONE, OTHER, Outcome.HOLD, Reason.PARTLY_SILENT, None),
        ("all silent for 3 s: pause", 3, ONE, OTHER, Outcome.FAIL, Reason.SILENT, PAUSE),
        ("for 9 s: still a pause", 9, ONE, OTHER, Outcome.FAIL, Reason.SILENT, PAUSE),
        ("for 10 s: fail", 10, ONE, OTHER, Outcome.FAIL, Reason.SILENT, ROLLBACK),
        ("its agent says that it runs: pause at 3 s", 3, {"a": mute}, OTHER, Outcome.FAIL, Reason.SILENT, PAUSE),
        ("and at 29 s", 29, {"a": mute}, OTHER, Outcome.FAIL, Reason.SILENT, PAUSE),
        ("and fail at 30 s", 30, {"a": mute}, OTHER, Outcome.FAIL, Reason.SILENT, ROLLBACK),
        ("both sides silent: hold", 40, ONE, {"b": gone}, Outcome.HOLD, Reason.BOTH_SILENT, None),
        ("the control silent alone: hold", 40, {"a": well}, {"b": gone}, Outcome.HOLD, Reason.PARTLY_SILENT, None),
        ("silence with nobody to compare pauses", 40, cohort(2, z=gone), {}, Outcome.FAIL, Reason.SILENT, PAUSE),
        ("everyone silent with nobody to compare: hold", 40, ONE, {}, Outcome.HOLD, Reason.BOTH_SILENT, None),
        ("one of ten is left out", 40, cohort(10, z=gone), OTHER, Outcome.PASS, Reason.CLEAN, None),
        ("two of ten are not", 10, cohort(10, y=gone, z=gone), OTHER, Outcome.FAIL, Reason.SILENT, ROLLBACK),
        ("one of three may pause, not fail", 40, cohort(3, z=gone), OTHER, Outcome.FAIL, Reason.SILENT, PAUSE),
        ("no request for 10 s: idle", 10, {"a": idle}, OTHER, Outcome.HOLD, Reason.IDLE, None),
        ("for just under 15 min: idle", 899, {"a": idle}, OTHER, Outcome.HOLD, Reason.IDLE, None),
        ("for 15 min: rejected", 900, {"a": idle}, OTHER, Outcome.FAIL, Reason.IDLE_TOO_LONG, ROLLBACK),
    ],
)
def test_silence(  # noqa: PLR0917
    sentence: str,
    seconds: int,
    canary: dict[str, Script],
    control: dict[str, Script],
    outcome: Outcome,
    reason: Reason,
    action: Action | None,
) -> None:
    verdict = after(seconds, canary, control)
    assert (verdict.outcome, verdict.reason, verdict.action) == (outcome, reason, action), verdict.sentence


@pytest.mark.parametrize(
    ("sentence", "script", "seconds", "outcome", "reason", "action"),
    [
        ("starting is not silence", changed(state=ServiceState.STARTING), 50, Outcome.HOLD, Reason.WARMING_UP, None),
        ("draining is not", changed(state=ServiceState.DRAINING), 30, Outcome.HOLD, Reason.WARMING_UP, None),
        ("a failed start fails at once", changed(state=ServiceState.FAILED), 1, Outcome.FAIL, Reason.START_FAILED, ROLLBACK),
        (
            "however long readiness was waited for",
            changed(state=ServiceState.FAILED),
            90,
            Outcome.FAIL,
            Reason.START_FAILED,
            ROLLBACK,
        ),
        ("one unordered exit pauses", changed(exits=1), 1, Outcome.FAIL, Reason.CRASHED, PAUSE),
        ("the second fails", changed(exits=2), 1, Outcome.FAIL, Reason.CRASHED, ROLLBACK),
        (
            "exits long after the change are not the start's",
            changed(exits=2, telemetry=True, requests=9),
            70,
            Outcome.PASS,
            None,
            None,
        ),
        ("ready but mute has 7 s more at first", changed(), 7, Outcome.HOLD, Reason.WARMING_UP, None),
        ("and pauses then", changed(), 11, Outcome.FAIL, Reason.SILENT, PAUSE),
        ("a slow start that succeeds passes", slow_start, 12, Outcome.PASS, Reason.CLEAN, None),
    ],
)
@pytest.mark.parametrize("size", [1, 5])
def test_a_node_answers_for_its_own_change(  # noqa: PLR0917
    sentence: str, script: Script, seconds: int, outcome: Outcome, reason: Reason | None, action: Action | None, size: int
) -> None:
    verdict = after(seconds, cohort(size, z=script), OTHER)
    assert (verdict.outcome, verdict.action) == (outcome, action), verdict.sentence
    assert reason is None or verdict.reason is reason


REST = {f"r{at}": well for at in range(4)}


@pytest.mark.parametrize(
    ("sentence", "seconds", "canary", "rest", "outcome", "reason"),
    [
        ("everyone silent while the rest reports: pause", 3, ONE, REST, Outcome.FAIL, Reason.SILENT),
        ("and at most that (C3)", 40, ONE, REST, Outcome.FAIL, Reason.SILENT),
        ("all of three, too", 3, {"a": gone, "b": gone, "c": gone}, REST, Outcome.FAIL, Reason.SILENT),
        ("half of the rest is witness enough", 3, ONE, REST | {"r0": gone, "r1": gone}, Outcome.FAIL, Reason.SILENT),
        ("a quarter is not", 3, ONE, dict.fromkeys(REST, gone) | {"r0": well}, Outcome.HOLD, Reason.BOTH_SILENT),
        ("agents alone are none", 3, {"a": mute}, dict.fromkeys(REST, mute), Outcome.HOLD, Reason.BOTH_SILENT),
    ],
)
def test_without_a_control_the_rest_says_whether_the_way_of_the_telemetry_is_open(  # noqa: PLR0917
    sentence: str, seconds: int, canary: dict[str, Script], rest: dict[str, Script], outcome: Outcome, reason: Reason
) -> None:
    """All canaries could be silent for ever, with an alarm that nobody reports; one silent of two was a pause."""
    placement = context(tuple(canary), (), default_guardrails=False)
    verdict = run(scene(canary, {}, rest), TROUBLE + seconds, placement)[1][-1]
    assert (verdict.outcome, verdict.reason) == (outcome, reason), verdict.sentence
    assert verdict.action in {None, PAUSE}


def wakes(node: str, version: str, second: int) -> NodePane | None:
    """Nobody asks it anything, nor has before morning."""
    return row(node, version, requests=int(second >= 100))


@pytest.mark.parametrize(
    ("sentence", "seconds", "control", "rest", "outcome"),
    [
        ("a quiet night is a hold", 100, {"b": idle}, {"r": idle}, Outcome.HOLD),
        ("and the first request of the morning goes elsewhere", 101, {"b": wakes}, {"r": idle}, Outcome.HOLD),
        ("so long after it the canary is rejected", 130, {"b": wakes}, {"r": idle}, Outcome.FAIL),
        ("others are the rest, too", 30, {"b": idle}, {"r": well}, Outcome.FAIL),
        ("where nobody else is, nobody is waited for", 30, {}, {}, Outcome.FAIL),
    ],
)
def test_idle_is_rejected_only_after_as_long_in_which_others_are_asked(
    sentence: str, seconds: int, control: dict[str, Script], rest: dict[str, Script], outcome: Outcome
) -> None:
    rules = AbsenceRules(idle=Idleness(rollback="30s"))
    placement = context(("a",), tuple(control), default_guardrails=False, absence=rules)
    verdict = run(scene({"a": idle}, control, rest), TROUBLE + seconds, placement)[1][-1]
    expected = Reason.IDLE_TOO_LONG if outcome is Outcome.FAIL else Reason.IDLE
    assert (verdict.outcome, verdict.reason) == (outcome, expected), sentence


def test_a_swapping_node_is_never_called_silent() -> None:
    _, verdicts = run(scene({"a": slow_start}, {"b": slow_start}), 40, context(default_guardrails=False))
    assert {verdict.outcome for verdict in verdicts} == {Outcome.HOLD, Outcome.PASS}


def test_a_node_that_still_runs_the_old_version_is_changing() -> None:
    old = lambda node, _version, _second: row(node, OLD, telemetry=False)  # noqa: E731
    assert after(50, {"a": old}, OTHER).reason is Reason.WARMING_UP


def test_a_node_released_a_moment_ago_without_any_row_has_ten_seconds() -> None:
    make = lambda second: pane(second, [], [row("b", requests=50)], expected={"canary": ("a",)})  # noqa: E731
    _, verdicts = run(make, 20, context(default_guardrails=False))
    assert [verdict.reason for verdict in verdicts[:7]] == [Reason.WARMING_UP] * 7
    assert (verdicts[10].outcome, verdicts[10].action) == (Outcome.FAIL, PAUSE)
    assert verdicts[19].action is ROLLBACK


def test_who_is_left_out_is_named() -> None:
    verdict = after(5, cohort(10, z=gone), OTHER)
    assert (verdict.outcome, verdict.silent_nodes, verdict.coverage) == (Outcome.PASS, ("z",), 0.9)


def test_silence_says_nothing_while_telemetry_is_down() -> None:

    make, placement = scene(ONE, OTHER), context(default_guardrails=False)
    state, _ = run(make, TROUBLE + 10, placement)
    _, verdict = judge(state, placement, make(TROUBLE + 10), 0, telemetry_down=True)
    assert verdict.reason is Reason.TELEMETRY_DOWN


@pytest.mark.parametrize(
    ("sentence", "seconds", "outcome", "action"),
    [
        ("25 seconds to connect again, and three", 27, Outcome.HOLD, None),
        ("then silence pauses", 28, Outcome.FAIL, PAUSE),
        ("and fails ten seconds after those 25", 35, Outcome.FAIL, ROLLBACK),
    ],
)
def test_after_an_outage_of_the_broker_silence_begins_when_everyone_had_time_to_come_back(
    sentence, seconds, outcome, action
) -> None:
    """A server whose next try came seconds after the others' was taken for dead: a pause, and after 10 s a false rollback."""
    make, placement = scene(ONE, OTHER), context(default_guardrails=False)
    state, _ = run(make, TROUBLE, placement)
    resumed_ms = START_MS + TROUBLE * 1_000
    for second in range(TROUBLE, TROUBLE + seconds):
        state, verdict = judge(state, placement, make(second), 0, resumed_ms=resumed_ms)
    assert (verdict.outcome, verdict.action) == (outcome, action), sentence


def test_the_first_install_stops_where_a_release_would_return() -> None:
    script = {"a": changed(state=ServiceState.FAILED)}
    assert after(1, script, {}, rest_version="").action is PAUSE
