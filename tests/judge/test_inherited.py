"""Alarms outlive the state of their judge: whoever comes after it ends them, and nobody ends what is another's (I1, C7)."""

from collections.abc import Iterable

import pytest
from msgspec.structs import replace
from tests.judge.test_fold import CANARY
from tests.kpi.rows import T0, idle, record, row

from tidegate.alarms.plant import TELEMETRY_DOWN
from tidegate.judge import JudgeState, Outcome, bequeath, restore, snapshot, step
from tidegate.kpi.caps import overflow_of
from tidegate.wire.judgement import Alarm, AlarmState, Severity
from tidegate.wire.partition import partition_of

HERE = partition_of("shop", 12)
SILENT = range(8, 20)
"""Seconds in which the canary says nothing."""
LOG = [
    replace(CANARY, started_ms=T0),
    *(
        record([row(node, second + 1, second, version=version, requests=20) for node, version in told], second + 1.2)
        for second in range(30)
        for told in [[("n1", "v1"), *([] if second in SILENT else [("n0", "v2")])]]
    ),
]
ENVIRONMENT = Alarm(
    id="environment/shop",
    writer="judge",
    name="environment",
    state=AlarmState.FIRING,
    severity=Severity.CRITICAL,
    start_ms=T0 - 50_000,
    service="shop",
    subject="svc/shop",
    summary="Both are broken.",
)


def fold(state: JudgeState, first: int = 0, last: int = len(LOG)) -> list[Outcome]:
    return [step(state, LOG[at], T0 + at * 1_000 + 250) for at in range(first, last)]


def edges(outcomes: Iterable[Outcome]) -> list[Alarm]:
    return [alarm for outcome in outcomes for alarm in outcome.alarms]


def topic(*told: Alarm) -> dict[str, Alarm]:
    """The last record of each key, as compaction leaves it."""
    return {alarm.key: alarm for alarm in told}


def firing(alarms: Iterable[Alarm]) -> set[str]:
    return {alarm.id for alarm in alarms if alarm.state is AlarmState.FIRING}


def fresh(*alarms: Alarm, lost: bool = True, partition: int = HERE) -> JudgeState:
    state = JudgeState(partition)
    state.lost = lost
    bequeath(state, alarms)
    return state


def test_the_log_has_an_alarm_that_begins_and_ends():
    assert [(edge.name, edge.state) for edge in edges(fold(JudgeState(HERE)))] == [
        ("coverage_lost", AlarmState.FIRING),
        ("coverage_lost", AlarmState.RESOLVED),
    ]


@pytest.mark.parametrize("cut", [5, 11, 12, 17, 22, 29])
@pytest.mark.parametrize("back", [0, 6])
def test_whoever_lost_its_state_ends_what_fires_on_the_topic_unless_it_is_true(cut, back):
    """``back``: so many records that its predecessor has folded are folded again, alarms that begin among them too."""
    before = edges(fold(JudgeState(HERE), 0, cut))
    state = fresh(*topic(ENVIRONMENT, *before).values())
    after = edges(fold(state, max(1, cut - back)))
    left = topic(ENVIRONMENT, *before, *after).values()
    known = {name for book in state.books.values() for name, entry in book.watched.items() if entry.alarm is not None}
    assert firing(left) == known
    assert all(alarm.end_ms > alarm.start_ms for alarm in left if alarm.state is AlarmState.RESOLVED)
    if cut < len(LOG) - 8:
        assert known == set()
        end = next(alarm for alarm in after if alarm.id == ENVIRONMENT.id)
        assert (end.state, end.start_ms) == (AlarmState.RESOLVED, ENVIRONMENT.start_ms)


def test_what_is_true_goes_on_with_its_start_and_is_not_told_twice():
    lost = edges(fold(JudgeState(HERE), 0, 16))
    state = fresh(*lost)
    step(state, LOG[0], T0 + 15_000)
    assert [(edge.state, edge.start_ms) for edge in edges(fold(state, 16))] == [(AlarmState.RESOLVED, lost[0].start_ms)]


@pytest.mark.parametrize("cut", [6, 12, 14, 19, 25])
def test_a_judge_that_lost_nothing_inherits_nothing_and_says_the_same(cut):
    whole = fold(JudgeState(HERE))
    state = JudgeState(HERE)
    fold(state, 0, max(1, cut - 5))
    again = restore(snapshot(state), HERE)
    bequeath(again, topic(*edges(whole[:cut])).values())
    assert again.inherited == ()
    assert fold(again, max(1, cut - 5)) == whole[max(1, cut - 5) :]


def test_a_book_that_this_code_cannot_read_is_made_good_by_the_topic():
    state = JudgeState(HERE)
    (begun,) = edges(fold(state, 0, 16))
    del state.books["shop"]
    again = restore(snapshot(state), HERE)
    bequeath(again, [begun])
    assert [(edge.state, edge.start_ms) for edge in edges(fold(again, 16))] == [(AlarmState.RESOLVED, begun.start_ms)]


def test_a_service_of_which_nothing_is_heard_any_more_has_its_alarm_ended():
    state = fresh(ENVIRONMENT)
    outcomes = [step(state, one, T0 + at * 1_000) for at, one in enumerate(idle(20))]
    assert [edge.state for edge in edges(outcomes)] == [AlarmState.RESOLVED]
    assert state.books == {}


PLANT = TELEMETRY_DOWN.firing(f"partition-{HERE}", T0 - 9_000, "", labels={"metric": f"partition-{HERE}"})
OVER = replace(ENVIRONMENT, state=AlarmState.RESOLVED, end_ms=T0 - 20_000)


@pytest.mark.parametrize(
    ("sentence", "alarm", "inherits"),
    [
        ("a service of the partition", ENVIRONMENT, True),
        ("the partition's clock", PLANT, True),
        ("what has no room in the partition", replace(ENVIRONMENT, service=overflow_of(HERE)), True),
        ("a rule that is gone", replace(ENVIRONMENT, id="older/shop", name="older"), True),
        ("a service of another", replace(ENVIRONMENT, service="cart"), False),
        ("another's clock", replace(PLANT, labels={"metric": f"partition-{(HERE + 1) % 12}"}), False),
        ("what has no room in another", replace(ENVIRONMENT, service=overflow_of(HERE + 1)), False),
        ("another's alarm", replace(ENVIRONMENT, writer="decide"), False),
        ("one that is over", OVER, False),
    ],
)
def test_a_state_inherits_what_is_its_own(sentence, alarm, inherits):
    state = fresh(alarm)
    assert bool(state.inherited) is inherits
    outcomes = [step(state, one, T0 + at * 1_000) for at, one in enumerate(idle(20))]
    assert [edge.key for edge in edges(outcomes)] == [alarm.key] * inherits
