"""Healthy fleets that limits and the gross trip rolled back by the letter of C1: seeds kept, and faults in the same fleets."""

import math

import numpy as np
import pytest

from tidegate.detect.state import SubjectJudgement
from tidegate.detect.verdicts import judge, learn
from tidegate.sim import WORLDS, Episode, Fault, FaultKind, Run
from tidegate.wire.judgement import Verdict
from tidegate.wire.plans import Action
from tidegate.wire.reasons import Reason

LIMITS = {Reason.GROSS_ERRORS, Reason.LIMIT_BROKEN}


def began(world: str, canaries: int, seed: int) -> tuple[Run, SubjectJudgement]:
    run = Run(Episode(world=WORLDS[world], canaries=canaries, past=None, history_s=360), np.random.default_rng([seed, canaries]))
    state = SubjectJudgement()
    for second in run.prelude():
        state = learn(state, second.pane(state.drift.past.edges))
    return run, state


def judged(run: Run, state: SubjectJudgement, seconds: int) -> tuple[SubjectJudgement, list[Verdict]]:
    verdicts = []
    for second in run.rollout(seconds):
        state, verdict = judge(state, second.context, second.pane(state.drift.past.edges), second.clock_ms)
        verdicts.append(verdict)
    return state, verdicts


@pytest.mark.parametrize(
    ("sentence", "world", "canaries", "seed", "seconds"),
    [
        ("a bunch of retries is one event", "all_of_it", 1, 3, 60),
        ("a bunch of retries is one event", "all_of_it", 1, 10, 30),
        ("a bunch of retries is one event", "retries", 1, 6, 30),
        ("a bunch of retries is one event", "retries", 1, 13, 30),
        ("an incident of the canary's zone is not its fault: errors", "zones", 1, 19, 60),
        ("an incident of the canary's zone is not its fault: latency", "zones", 1, 11, 200),
    ],
)
def test_a_healthy_fleet_is_left_alone_by_limits(sentence: str, world: str, canaries: int, seed: int, seconds: int) -> None:
    _, verdicts = judged(*began(world, canaries, seed), seconds)
    assert not [verdict.sentence for verdict in verdicts if verdict.reason in LIMITS and verdict.action is Action.ROLLBACK]


@pytest.mark.parametrize(
    ("world", "canaries", "size", "within_s"),
    [
        ("everything", 1, 1.0, 3),
        ("all_of_it", 1, 1.0, 3),
        ("all_of_it", 1, 0.5, 5),
        ("all_of_it", 5, 0.5, 2),
        ("all_of_it", 5, 0.2, 6),
    ],
)
def test_and_a_gross_fault_in_such_a_fleet_is_seen_at_once(world: str, canaries: int, size: float, within_s: int) -> None:
    run, state = began(world, canaries, 3)
    state, _ = judged(run, state, 20)
    bad = run.fork(Fault(FaultKind.ERRORS, size, onset_s=20))
    _, verdicts = judged(bad, state, 15)
    taken = next((at + 1 for at, verdict in enumerate(verdicts) if verdict.action is Action.ROLLBACK), math.inf)
    print(f"\n{world}, {canaries} canaries, {size:.0%} errors: {taken} s")  # noqa: T201
    assert taken <= within_s
