"""Alarms that are over: of those from outside the last of each service are remembered; no rule notices what is not (D1, D4)."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.rollout import seen_alarms
from tidegate.rollout.events import AlarmArrived, AlarmForgotten, Event
from tidegate.rollout.restraint import alarms_ended_ms, open_alarms
from tidegate.rollout.seen_alarms import ENDED_KEPT
from tidegate.rollout.view import View, see
from tidegate.wire.judgement import INBOUND_WRITER, Alarm, AlarmState, Severity

SERVICES = ("shop", "cart")
KEPT = 3


def alarm(number: int, at_ms: int, writer: str = INBOUND_WRITER, *, over: bool = False) -> Alarm:
    """The service and the severity of an alarm follow from its number, as those of an alert follow from its labels."""
    return Alarm(
        id=f"{number}",
        writer=writer,
        name="OrdersLost",
        state=AlarmState.RESOLVED if over else AlarmState.FIRING,
        severity=Severity.WARNING if number % 3 == 0 else Severity.CRITICAL,
        start_ms=0 if over else at_ms,
        end_ms=at_ms if over else 0,
        service=SERVICES[number % 2],
        subject=f"svc/{SERVICES[number // 2 % 2]}" if writer != INBOUND_WRITER else "",
    )


def events(told: list[tuple[str, int, str]]) -> list[Event]:
    """What is told of alarms, one ms after the other: one begins, is over, or is forgotten."""
    found: list[Event] = []
    for at_ms, (what, number, writer) in enumerate(told, 1):
        one = alarm(number, at_ms, writer, over=what == "ends")
        found.append(AlarmForgotten(one.key) if what == "forgotten" else AlarmArrived(one))
    return found


HISTORIES = st.lists(
    st.tuples(
        st.sampled_from(("begins", "ends", "ends", "forgotten")),
        st.integers(0, 19),
        st.sampled_from((INBOUND_WRITER, INBOUND_WRITER, "judge", "decide")),
    ),
    max_size=80,
).map(events)


class Plainly:
    """Everything is remembered for ever, in two dictionaries."""

    def __init__(self, told: list[Event]) -> None:
        self.alarms: dict[str, Alarm] = {}
        self.ended: dict[str, Alarm] = {}
        for event in told:
            if isinstance(event, AlarmArrived):
                one = event.alarm
                self.alarms.pop(one.key, None)
                self.ended.pop(one.key, None)
                (self.alarms if one.state is AlarmState.FIRING else self.ended)[one.key] = one

    def open(self, service: str) -> list[str]:
        return sorted(key for key, one in self.alarms.items() if _stops(one, service))

    def ended_ms(self, service: str) -> int:
        return max((one.end_ms for one in self.ended.values() if _stops(one, service)), default=0)


def _stops(one: Alarm, service: str) -> bool:
    mine = service in (one.service, one.subject.removeprefix("svc/"))
    return mine and one.severity is Severity.CRITICAL and one.writer != "decide"


def open_of(view: View, service: str) -> list[str]:
    return [sentence.removeprefix("A critical alarm is open: ")[:-1] for _, sentence in open_alarms(view, service)]


def fold(told: list[Event], view: View | None = None) -> View:
    view = view or View()
    for event in told:
        view = see(view, event)
    return view


@pytest.fixture(scope="module", autouse=True)
def few():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen_alarms, "ENDED_KEPT", KEPT)
        yield


@given(HISTORIES)
def test_no_rule_notices_what_is_forgotten(told):
    """While an alarm of the service is open the end of another one is asked for by nobody."""
    view, whole = fold(told), Plainly(told)
    assert view.alarms == whole.alarms
    for service in SERVICES:
        assert open_of(view, service) == whole.open(service)
        if not whole.open(service):
            assert alarms_ended_ms(view, service) == whole.ended_ms(service)


@given(HISTORIES)
def test_what_is_remembered_of_alarms_from_outside_is_bounded_and_of_others_it_is_all(told):
    view, whole = fold(told), Plainly(told)
    for service in SERVICES:
        for severity in (Severity.CRITICAL, Severity.WARNING):
            mine = [one for one in view.ended.values() if one.service == service and one.severity is severity]
            assert sum(one.writer == INBOUND_WRITER for one in mine) <= KEPT
    assert {key for key, one in whole.ended.items() if one.writer != INBOUND_WRITER} <= set(view.ended)
    assert {key: whole.ended[key] for key in view.ended} == view.ended
    assert sorted(key for keys in view.signals.outside.values() for key in keys) == sorted(
        key for key, one in view.ended.items() if one.writer == INBOUND_WRITER
    )


@given(HISTORIES)
def test_seeing_all_again_changes_nothing_that_a_rule_looks_at(told):
    once = fold(told)
    last = {event.alarm.key: event for event in told if isinstance(event, AlarmArrived)}
    again = fold([last[key] for key in sorted(last)], once)
    assert again.alarms == once.alarms
    for service in SERVICES:
        if not open_of(once, service):
            assert alarms_ended_ms(again, service) == alarms_ended_ms(once, service)


def over(*ends: tuple[int, int]) -> list[Event]:
    return [AlarmArrived(alarm(number, at_ms, over=True)) for number, at_ms in ends]


@pytest.mark.parametrize(
    ("told", "forgotten", "left"),
    [
        # Of the critical ones of a service the last end stays: ramps and deadlines count from it.
        (over((1, 10), (5, 20)), 1, {"api/5"}),
        (over((1, 10), (5, 20)), 5, {"api/1", "api/5"}),
        (over((1, 10), (5, 10)), 1, {"api/5"}),
        (over((1, 10), (2, 20)), 1, {"api/1", "api/2"}),
        # A warning stops nothing.
        (over((3, 10)), 3, set()),
        (over((3, 20), (1, 10)), 1, {"api/1", "api/3"}),
        ([AlarmArrived(alarm(1, 5))], 1, set()),
    ],
)
def test_an_end_is_forgotten_when_it_can_no_longer_matter(told, forgotten, left):
    before = fold(told)
    after = see(before, AlarmForgotten(f"api/{forgotten}"))
    assert (set(after.ended), after.alarms) == (left, before.alarms)


def taken_bytes(view: View, kept: int) -> list[int]:
    """What some edges more take, each by its own, be it given back or not; the least first."""
    found = []
    for number in range(10 * kept, 10 * kept + 9):
        for event in (AlarmArrived(alarm(number, 1, "judge")), AlarmArrived(alarm(number, 2, "judge", over=True))):
            tracemalloc.start()
            try:
                view = see(view, event)
                found.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
    return sorted(found)


def test_an_edge_costs_as_much_however_many_alarms_there_are():
    few, many = (fold([AlarmArrived(alarm(one, 1, "judge", over=one % 2 == 0)) for one in range(kept)]) for kept in (100, 5_000))
    costs = [taken_bytes(few, 100)[9], taken_bytes(many, 5_000)[9]]
    assert 0 < costs[1] < 2 * costs[0]


def test_of_a_storm_that_is_over_little_is_left(monkeypatch):
    monkeypatch.setattr(seen_alarms, "ENDED_KEPT", ENDED_KEPT)
    view = View()
    for number in range(3_000):
        for event in (AlarmArrived(alarm(number, number)), AlarmArrived(alarm(number, number, over=True))):
            view = see(view, event)
    assert (len(view.alarms), len(view.ended)) == (0, 4 * ENDED_KEPT)
    assert {service: alarms_ended_ms(view, service) for service in SERVICES} == {"shop": 2_998, "cart": 2_999}
