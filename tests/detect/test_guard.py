"""Environment against release (C2): who is blamed when everyone fails, before, during and because of a rollout."""

import numpy as np
import pytest
from tests.detect.healthy import NEW, OLD, context, pane, row, run

from tidegate.detect.baseline import Baseline
from tidegate.detect.guard import PANES, Told, bound, judge_service, usual_ratio
from tidegate.detect.state import SubjectJudgement
from tidegate.detect.verdicts import learn
from tidegate.kpi.sums import Sums
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason

HOLD, PASS, FAIL = Outcome.HOLD, Outcome.PASS, Outcome.FAIL
PAUSE, ROLLBACK = Action.PAUSE, Action.ROLLBACK
CANARY, CONTROL, REST = ("c0", "c1", "c2"), ("k0", "k1", "k2"), tuple(f"r{at}" for at in range(6))
BEFORE_S = 600
BEGIN_S = 60


def second_of(at, canary, old, *, rollout=True, control=CONTROL):
    """One pane in which these shares of 100 requests fail on each node of the new version and of the old one."""
    new = CANARY if rollout else ()
    told = [
        [row(node, version, requests=100, errors=round(100 * share)) for node in nodes]
        for nodes, version, share in (
            (new, NEW, canary),
            (control if rollout else (), OLD, old),
            (REST if rollout else (*CANARY, *CONTROL, *REST), OLD, old),
        )
    ]
    return pane(at, *told)


def story(before, canary, old, seconds, *, control=CONTROL, rest=REST, **changes):
    """Verdicts of a rollout after ten minutes of ``before(second)``; both sides by second since it began."""
    state = SubjectJudgement()
    for at in range(BEFORE_S):
        state = learn(state, second_of(at, 0.0, before(at), rollout=False))

    def make(at):
        second = at - BEFORE_S
        new, other = canary(second), old(second)
        told = [
            [row(node, version, requests=100, errors=round(100 * share)) for node in nodes]
            for nodes, version, share in ((CANARY, NEW, new), (control, OLD, other), (rest, OLD, other))
        ]
        return pane(at, *told)

    placement = context(CANARY, control, started_ms=pane(BEFORE_S).start_ms, **changes)
    return run(make, seconds, placement, state, BEFORE_S)[1]


def always(share):
    return lambda _second: share


def since(begin, share, usual=0.0, last=1 << 30):
    return lambda second: share if begin <= second < last else usual


def acts(verdicts):
    return {(verdict.outcome, verdict.reason, verdict.action) for verdict in verdicts}


def test_a_canary_that_pulls_everyone_down_is_paused_within_half_a_minute_and_said_to_be_the_world():
    verdicts = story(always(0.0), since(BEGIN_S, 0.1), since(BEGIN_S, 0.1), 120)
    first = next(at for at, verdict in enumerate(verdicts) if verdict.action is not None)
    assert 25 <= first + 1 - BEGIN_S <= PANES
    verdict = verdicts[first]
    assert (verdict.outcome, verdict.reason, verdict.action) == (FAIL, Reason.ENVIRONMENT, PAUSE)
    assert "whole service" in verdict.sentence
    assert ROLLBACK not in {one.action for one in verdicts}
    assert PASS not in {one.outcome for one in verdicts[BEGIN_S + 10 :]}


def test_it_holds_long_before_it_pauses():
    verdicts = story(always(0.0), since(BEGIN_S, 0.1), since(BEGIN_S, 0.1), BEGIN_S + 6)
    assert (verdicts[-1].outcome, verdicts[-1].reason) == (HOLD, Reason.ENVIRONMENT)


@pytest.mark.parametrize(
    ("sentence", "before", "canary", "old", "expected"),
    [
        ("everyone fails as ever: nothing is wrong with the release", always(0.1), always(0.1), always(0.1), {(PASS, None)}),
        ("a fault of the last three minutes goes on", since(420, 0.1), always(0.1), always(0.1), {(HOLD, None), (FAIL, PAUSE)}),
        ("a gross one too", since(420, 0.4), always(0.4), always(0.4), {(HOLD, None), (FAIL, PAUSE)}),
        ("it ends with the start", since(420, 0.4), always(0.0), always(0.0), {(PASS, None)}),
        ("a short burst holds", always(0.0), since(60, 0.1, last=80), since(60, 0.1, last=80), {(PASS, None), (HOLD, None)}),
        ("the old version alone fails: the release may be the cure", always(0.0), always(0.0), since(60, 0.1), {(PASS, None)}),
    ],
)
def test_what_everyone_suffers_blames_no_release(sentence, before, canary, old, expected):
    verdicts = story(before, canary, old, 120)[2:]
    assert {(verdict.outcome, verdict.action) for verdict in verdicts} == expected, sentence


@pytest.mark.parametrize(("control", "rest"), [(CONTROL, ()), (CONTROL, REST), ((), REST)])
def test_only_the_canary_fails_and_the_guard_does_not_protect_it(control, rest):
    verdicts = story(always(0.0), since(BEGIN_S, 0.4), always(0.0), BEGIN_S + 5, control=control, rest=rest)
    assert verdicts[-1].action is ROLLBACK


def test_a_fault_that_was_there_before_a_rollout_to_everyone_at_once_is_not_its_fault():
    """Against the whole baseline of ten minutes a fault that began a minute before looked new, and was rolled back."""
    verdicts = story(since(540, 0.4), always(0.4), always(0.0), 60, control=(), rest=())
    assert ROLLBACK not in {verdict.action for verdict in verdicts}
    assert {verdict.reason for verdict in verdicts[3:]} == {Reason.ENVIRONMENT}


def test_a_new_fault_of_a_rollout_to_everyone_is():
    verdicts = story(always(0.0), since(BEGIN_S, 0.4), always(0.0), BEGIN_S + 5, control=(), rest=())
    assert verdicts[-1].action is ROLLBACK


@pytest.mark.parametrize(
    ("sentence", "usual", "changes", "expected"),
    [
        ("3 % above a good service", 0.001, {}, 0.031),
        ("three times a bad one", 0.05, {}, 0.15),
        ("gross without a baseline", None, {}, 0.2),
        ("or what the objective allows", 0.001, {"slo": 99.9}, 0.0144),
        ("a mild objective widens nothing", 0.001, {"slo": 90.0}, 0.031),
        ("without default guardrails nothing", 0.001, {"default_guardrails": False}, None),
        ("but the objective", 0.001, {"default_guardrails": False, "slo": 99.0}, 0.144),
    ],
)
def test_bounds(sentence, usual, changes, expected):
    found = bound(context(**changes), usual)
    assert found == (pytest.approx(expected) if expected is not None else None), sentence


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [([0.01] * 10, 0.01), ([0.01] * 6 + [0.5] * 4, 0.01), ([0.01] * 3 + [0.5] * 7, 0.5), ([0.01, 0.3], 0.155), ([], None)],
)
def test_what_is_usual_is_the_middle_minute(minutes, expected):
    blocks = tuple((at * 60_000, Sums(60, 1_000, round(1_000 * share))) for at, share in enumerate(minutes))
    requests, errors = sum(one.requests for _, one in blocks), sum(one.errors for _, one in blocks)
    total = Sums(600, requests, errors) if blocks else None
    assert usual_ratio(Baseline(blocks=blocks, total=total)) == (pytest.approx(expected) if expected is not None else None)


def hours(rng, burst, count, *, rate=1_000, canaries=0.1, base=0.001):
    """Requests and errors by second of healthy hours: three shared bursts an hour of 10 to 60 s."""
    for _ in range(count):
        share = np.full(3_600, base)
        for begin in rng.integers(0, 3_540, 3):
            share[begin : begin + rng.integers(10, 61)] += rng.uniform(*burst)
        requests = rng.poisson(rate, 3_600)
        new = rng.binomial(requests, canaries)
        bad_new, bad_old = rng.binomial(new, share), rng.binomial(requests - new, share)
        yield [
            Told(*line) for line in zip(new.tolist(), bad_new.tolist(), (requests - new).tolist(), bad_old.tolist(), strict=True)
        ]


def pauses(told, placement, baseline):
    """How often a pause begins, half a minute after the one before is over counting as another."""
    found, last = 0, -100
    for at in range(PANES, len(told)):
        finding = judge_service(told[at - PANES : at], placement, baseline)
        if finding is not None and finding.action is PAUSE:
            found += at - last > 30
            last = at
    return found


@pytest.mark.parametrize(
    ("sentence", "burst", "changes", "most"),
    [
        ("shared bursts of 0.5 to 3 % never pause by default", (0.005, 0.03), {}, 0.0),
        ("with an objective of 99.9 % a few an hour", (0.005, 0.03), {"slo": 99.9}, 2.0),
        ("bursts of 5 to 20 %, which someone should know of", (0.05, 0.2), {}, 3.0),
    ],
)
@pytest.mark.parametrize("rate", [50, 1_000])
def test_how_often_bursts_of_a_healthy_fleet_pause(sentence, burst, changes, most, rate, say):  # noqa: PLR0917
    rng, healthy = np.random.default_rng(5), Baseline(total=Sums(600, 100_000, 100))
    count = 12
    found = sum(pauses(told, context(**changes), healthy) for told in hours(rng, burst, count, rate=rate))
    say(f"{sentence}, {rate} requests/s: {found / count:.2f} pauses an hour")
    assert found / count <= most
