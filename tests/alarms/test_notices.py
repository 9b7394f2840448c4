"""What one target is told, and when: grouped, once, again where it lasts; not what is silenced or explained (I2)."""

from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.alarms.kit import T0, alarm, over

from tidegate.alarms.board import SILENT_MS, Board, hidden, pin
from tidegate.alarms.notices import Desk, Notice, Policy, delivered, due, wake_at
from tidegate.alarms.silences import hidden_by
from tidegate.wire.decisions import Silence
from tidegate.wire.documents import Hush
from tidegate.wire.judgement import Alarm, AlarmState, Episode, Severity, fired_again

POLICY = Policy()
SERVER = Policy(wait_ms=0, interval_ms=0, repeat_ms=60_000, together=True, hidden_ends=True)
"""As Alertmanager wants it."""


class Desktop:
    """A target that takes everything, unless it is away; time goes in tenths of a second."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.policy = policy
        self.desk = Desk()
        self.board = Board()
        self.now_ms = T0
        self.taken: list[tuple[float, Notice]] = []
        self.away = False
        self.step_s = 0.1

    def go(self, seconds: float) -> list[Notice]:
        """Let time pass; return what was taken meanwhile."""
        before = len(self.taken)
        until_ms = self.now_ms + round(seconds * 1_000)
        while True:
            self.look()
            if self.now_ms >= until_ms:
                return [notice for _, notice in self.taken[before:]]
            self.now_ms = min(until_ms, self.now_ms + round(self.step_s * 1_000))

    def look(self) -> None:
        self.desk, notices = due(self.desk, self.board, self.policy, self.now_ms)
        for notice in notices:
            if not self.away:
                self.desk = delivered(self.desk, notice, self.now_ms)
                self.taken.append(((self.now_ms - T0) / 1_000, notice))

    def say(self, *edges: Alarm) -> None:
        for edge in edges:
            self.board = pin(self.board, edge)

    def hush(self, *silences: Silence) -> None:
        self.board = replace(self.board, silences=silences)


def keys(alarms: Sequence[Alarm]) -> list[str]:
    return [one.id for one in alarms]


def silence(until_s: float, since_s: float = 0, **hush: object) -> Silence:
    asked = msgspec.convert({**hush, "until_ms": T0 + round(until_s * 1_000)}, Hush)
    return Silence(id="silence-1", hush=asked, since_ms=T0 + round(since_s * 1_000), actor="ann", reason="work on it")


def test_a_burst_is_one_notice_after_the_wait() -> None:
    target = Desktop()
    for number in range(500):
        target.say(alarm(which=f"n{number:03}", start_s=number / 500))
        if number % 50 == 0:
            target.go(0.1)
    (notice,) = target.go(5)
    assert len(notice.firing) == 500
    assert target.taken[0][0] == pytest.approx(2.0, abs=0.2)


def test_services_and_names_are_groups_of_their_own() -> None:
    target = Desktop()
    target.say(alarm(), alarm(which="n1"), alarm(service="cart"), alarm("clock_wrong"))
    assert sorted(notice.group for notice in target.go(3)) == ["cart/coverage_lost", "shop/clock_wrong", "shop/coverage_lost"]


def test_later_news_of_a_group_wait_for_its_interval_and_come_together() -> None:
    target = Desktop()
    target.say(alarm(which="n1"))
    target.go(3)
    target.say(alarm(which="n2", start_s=3))
    target.go(5)
    target.say(alarm(which="n3", start_s=8), over(alarm(which="n1"), 8))
    assert target.go(20) == []
    (notice,) = target.go(10)
    assert keys(notice.firing) == ["coverage_lost/shop/n2", "coverage_lost/shop/n3"]
    assert keys(notice.over) == ["coverage_lost/shop/n1"]


def test_what_is_over_is_told_once_and_what_nobody_was_told_of_never() -> None:
    target = Desktop()
    target.say(alarm(which="n1"))
    target.go(1)
    target.say(over(alarm(which="n1"), 1))
    assert target.go(60) == []
    target.say(alarm(which="n2", start_s=61))
    assert len(target.go(5)) == 1
    target.say(over(alarm(which="n2", start_s=61), 70))
    (end,) = target.go(60)
    assert (end.firing, [one.end_ms - T0 for one in end.over]) == ((), [70_000])
    assert target.go(6 * 3_600) == []
    assert target.desk == Desk()


def test_what_goes_on_is_told_again_after_hours_under_another_id() -> None:
    target = Desktop(Policy(repeat_ms=60_000))
    target.say(alarm())
    first, *again = target.go(200)
    assert [notice.repeats for notice in again] == [1, 2, 3]
    assert len({notice.id for notice in (first, *again)}) == 4


def test_a_target_that_was_away_is_told_how_things_are_and_not_how_they_were() -> None:
    target = Desktop()
    target.say(alarm(which="n0"))
    target.go(5)
    target.away = True
    for number in range(1, 30):
        target.say(alarm(which=f"n{number}", start_s=target.now_ms / 1_000 - T0 / 1_000))
        target.go(40)
        if number < 29:
            target.say(over(alarm(which=f"n{number}"), 1))
    target.say(over(alarm(which="n0"), 9))
    target.away = False
    (notice,) = target.go(1)
    assert keys(notice.firing) == ["coverage_lost/shop/n29"]
    assert keys(notice.over) == ["coverage_lost/shop/n0"]


def test_the_same_content_has_the_same_id_whoever_sends_it() -> None:
    one, other = Desktop(), Desktop()
    one.say(alarm(which="a"), alarm(which="b"))
    other.say(alarm(which="b"), alarm(which="a"))
    other.go(0.7)
    (first,), (second,) = one.go(4), other.go(4)
    assert first.id == second.id


ROLLBACK = alarm("rollback_happened", severity=Severity.CRITICAL, writer="decide")


def test_a_running_rollback_hides_lesser_alarms_of_its_service_and_no_critical_ones() -> None:
    target = Desktop()
    target.say(ROLLBACK, alarm("limit_broken"), alarm("environment", severity=Severity.CRITICAL), alarm("limit_broken", "cart"))
    assert sorted(notice.group for notice in target.go(5)) == ["cart/limit_broken", "shop/environment", "shop/rollback_happened"]
    assert [one.inhibitor for one in hidden(target.board, T0).values()] == [ROLLBACK]
    # When it is over, what still fires is told.
    target.say(over(ROLLBACK, 6))
    assert "shop/limit_broken" in {notice.group for notice in target.go(40)}


def test_a_rollback_that_begins_within_the_wait_of_its_cause_hides_it() -> None:
    target = Desktop()
    target.say(alarm("limit_broken"))
    target.go(1)
    target.say(ROLLBACK)
    assert [notice.group for notice in target.go(6)] == ["shop/rollback_happened"]


@pytest.mark.parametrize(
    ("sentence", "hush", "told"),
    [
        ("its service", {"service": "shop"}, False),
        ("another service", {"service": "cart"}, True),
        ("its kind", {"name": "coverage_lost"}, False),
        ("its label", {"labels": {"node": "n1"}}, False),
        ("another node", {"labels": {"node": "n2"}}, True),
        ("everything that is named must be there", {"service": "shop", "labels": {"zone": "a"}}, True),
        ("all of it is", {"service": "shop", "name": "coverage_lost", "labels": {"node": "n1"}}, False),
    ],
)
def test_a_silence_hides_what_has_all_that_it_names(sentence: str, hush: dict[str, object], told: bool) -> None:
    target = Desktop()
    target.hush(silence(100, **hush))
    target.say(alarm(which="n1"))
    assert bool(target.go(10)) is told


def test_what_still_fires_when_its_silence_ends_is_told_and_what_it_hid_is_known() -> None:
    target = Desktop()
    target.hush(silence(20, since_s=0, service="shop"))
    lasts = alarm(which="n1", start_s=5)
    target.say(lasts, over(alarm(which="n2", start_s=6), 8), over(alarm(which="n3", start_s=-9), -3), alarm(service="cart"))
    assert [notice.group for notice in target.go(19)] == ["cart/coverage_lost"]
    assert {key: list(times) for key, times in hidden_by(target.board.silences[0], target.board.alarms, T0 + 19_000).items()} == {
        "judge/coverage_lost/shop/n1": [Episode(T0 + 5_000, 0)],
        "judge/coverage_lost/shop/n2": [Episode(T0 + 6_000, T0 + 8_000)],
    }
    (notice,) = target.go(5)
    assert keys(notice.firing) == ["coverage_lost/shop/n1"]


def test_what_was_told_before_a_silence_began_is_told_to_be_over() -> None:
    target = Desktop()
    target.say(alarm())
    target.go(5)
    target.hush(silence(500, since_s=5, service="shop"))
    assert target.go(100) == []
    target.say(over(alarm(), 110))
    assert [keys(notice.over) for notice in target.go(60)] == [["coverage_lost/shop"]]


def test_what_was_told_and_is_silenced_is_not_told_again_until_the_silence_is_over() -> None:
    target = Desktop()
    repeat_s = target.policy.repeat_ms / 1_000
    target.say(alarm(), alarm(service="cart"))
    target.go(5)
    target.hush(silence(3 * repeat_s, since_s=5, service="shop"), silence(2 * repeat_s, since_s=5, service="cart"))
    target.step_s = 60
    assert target.go(1.9 * repeat_s) == []
    assert [keys(notice.firing) for notice in target.go(repeat_s)] == [["coverage_lost/cart"]]
    assert max(key for notice in target.go(repeat_s * 1.2) for key in keys(notice.firing)) == "coverage_lost/shop"


def test_one_that_fires_again_under_a_silence_is_told_to_be_over_and_not_to_fire() -> None:
    target = Desktop()
    first = alarm()
    target.say(first)
    target.go(5)
    target.hush(silence(500, since_s=5, service="shop"))
    again = fired_again(alarm(start_s=9), over(first, 8))
    target.say(again)
    (end,) = target.go(100)
    assert (end.firing, [(one.start_ms - T0, one.end_ms - T0) for one in end.over]) == ((), [(0, 8_000)])
    target.say(fired_again(alarm(start_s=120), over(again, 110)))
    assert target.go(100) == []


def test_a_server_that_goes_on_by_itself_is_told_that_what_is_hidden_is_over() -> None:
    target = Desktop(SERVER)
    target.say(alarm(), alarm(service="cart"))
    (first,) = target.go(1)
    assert keys(first.firing) == ["coverage_lost/cart", "coverage_lost/shop"]
    target.hush(silence(500, since_s=1, service="shop"))
    (second,) = target.go(1)
    assert (keys(second.firing), keys(second.over)) == (["coverage_lost/cart"], ["coverage_lost/shop"])
    assert [keys(notice.firing) for notice in target.go(150)] == [["coverage_lost/cart"]] * 2


def test_a_decision_agent_that_gives_no_sign_is_told_of_without_any_topic() -> None:
    target = Desktop()
    target.board = replace(target.board, heard_ms=T0)
    assert target.go(SILENT_MS / 1_000) == []
    (notice,) = target.go(5)
    assert keys(notice.firing) == ["decide_silent"]
    target.board = replace(target.board, heard_ms=target.now_ms)
    assert [keys(one.over) for one in target.go(29)] == [["decide_silent"]]


EDGES = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from(["a", "b", "c", "d"]),
        st.sampled_from(["shop", "cart"]),
        st.booleans(),
        st.booleans(),
    ),
    max_size=25,
)


@given(EDGES, st.sampled_from([POLICY, SERVER]))
def test_in_the_end_a_target_knows_exactly_what_fires_however_it_was_away(
    edges: list[tuple[int, str, str, bool, bool]], policy: Policy
) -> None:
    target = Desktop(policy)
    for wait, which, service, fires, away in edges:
        target.away = away
        target.go(wait)
        start_s = (target.now_ms - T0) / 1_000
        one = alarm(service=service, which=which, start_s=start_s)
        target.say(one if fires else over(target.board.alarms.get(one.key, one), start_s))
    target.away = False
    target.go(40)
    believes: dict[str, int] = {}
    for _, notice in target.taken:
        believes |= {one.key: one.start_ms for one in notice.firing}
        for one in notice.over:
            assert believes.pop(one.key) <= one.end_ms
    assert believes == {key: one.start_ms for key, one in target.board.alarms.items() if one.state is AlarmState.FIRING}


@given(EDGES, st.sampled_from([POLICY, SERVER]))
def test_nothing_is_due_before_the_time_to_wake_and_a_restart_changes_nothing(
    edges: list[tuple[int, str, str, bool, bool]], policy: Policy
) -> None:
    target = Desktop(policy)
    for wait, which, service, fires, _ in edges:
        target.go(wait / 10)
        one = alarm(service=service, which=which, start_s=(target.now_ms - T0) / 1_000)
        target.say(one if fires else over(one, (target.now_ms - T0) / 1_000))
        target.look()
        target.desk = msgspec.json.decode(msgspec.json.encode(target.desk), type=Desk)
        wake_ms = wake_at(target.desk, target.board, policy, target.now_ms)
        for at_ms in range(target.now_ms, min(wake_ms or target.now_ms + 50_000, target.now_ms + 50_000), 500):
            assert due(target.desk, target.board, policy, at_ms)[1] == ()


def test_hiding_has_no_memory() -> None:
    """The same board gives the same, however it came about."""
    edges: list[Callable[[Board], Board]] = [
        lambda board: pin(board, alarm()),
        lambda board: pin(board, ROLLBACK),
        lambda board: replace(board, silences=(silence(10, service="shop"),)),
    ]
    one, other = Board(), Board()
    for edge in edges:
        one = edge(one)
    for edge in reversed(edges):
        other = edge(other)
    assert hidden(one, T0 + 1).keys() == hidden(other, T0 + 1).keys()


def test_a_group_is_not_over_while_what_was_told_and_is_silenced_goes_on() -> None:
    target = Desktop()
    target.say(alarm(which="n1"), alarm(which="n2"))
    target.go(5)
    target.hush(silence(500, since_s=5, labels={"node": "n1"}))
    target.say(over(alarm(which="n2"), 8))
    (told,) = target.go(100)
    assert (keys(told.firing), keys(told.over), keys(told.kept)) == ([], ["coverage_lost/shop/n2"], ["coverage_lost/shop/n1"])
    assert (told.goes_on, told.hidden) == (True, 0)
