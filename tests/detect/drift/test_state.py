"""What is remembered of a service: its past stands still in a rollout, and the end of one is where it teaches."""

from functools import cache

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from tests.detect.healthy import NEW, OLD, World, busy, pane, row

from tidegate.detect.drift import state as drifting
from tidegate.detect.drift.arrays import pack, unpack
from tidegate.detect.drift.state import Drift
from tidegate.kpi.pane import ServicePane

NAMES = tuple(f"n{at:02}" for at in range(30))
AGES = dict.fromkeys(NAMES[:20], 0)
WORLD = World(errors=0.01)


def quiet_pane(rng: np.random.Generator, at: int, version: str = OLD) -> ServicePane:
    return pane(at, rest=[busy(rng, WORLD, name, version) for name in NAMES], rest_version=version)


def rollout_pane(rng: np.random.Generator, at: int, slower: float = 1.0) -> ServicePane:
    return pane(
        at,
        [busy(rng, WORLD, name, NEW, slower=slower) for name in NAMES[:10]],
        [busy(rng, WORLD, name) for name in NAMES[10:20]],
        [busy(rng, WORLD, name) for name in NAMES[20:]],
    )


@cache
def quiet(seconds: int = 150) -> Drift:
    rng, found = np.random.default_rng(50), Drift()
    for at in range(seconds):
        found = drifting.learn(found, quiet_pane(rng, at))
    return found


@cache
def rolled_out(slower: float = 1.0, seconds: int = 200) -> Drift:
    rng = np.random.default_rng(51)
    found = drifting.begin(quiet(), "r1", NEW)
    for at in range(seconds):
        ages = dict.fromkeys(AGES, at + 1.0)
        found, _ = drifting.observe(found, rollout_pane(rng, 150 + at, slower), "p1", ages)
    return found


def frozen(value: object) -> bytes:
    return msgspec.msgpack.encode(value, enc_hook=pack)


def test_a_quiet_service_is_learned_with_edges_after_a_minute():
    found = quiet()
    assert found.past.nodes == NAMES
    assert len(found.past.edges) == 6
    assert list(found.past.edges) == sorted(found.past.edges)


def test_the_past_stands_still_while_a_rollout_is_under_way():
    assert frozen(rolled_out().past) == frozen(quiet().past)
    assert frozen(rolled_out().learned) == frozen(quiet().learned)


def test_a_pane_without_telemetry_teaches_nothing():
    silent = pane(150, rest=[row(name, telemetry=False) for name in NAMES])
    assert frozen(drifting.learn(quiet(), silent)) == frozen(quiet())
    assert frozen(drifting.learn(quiet(), replace(silent, cohorts={}))) == frozen(quiet())


@pytest.mark.parametrize(
    ("running", "restarts", "healthy"),
    [
        (NEW, 20, 1),  # promoted
        (OLD, 10, 0),  # back to what was
    ],
)
def test_a_rollout_teaches_at_its_end_by_what_the_service_runs_then(running, restarts, healthy):
    found = drifting.learn(rolled_out(), quiet_pane(np.random.default_rng(52), 400, running))
    assert (found.learned.restarts, found.learned.rollouts, found.learned.revision) == (restarts, healthy, 1)
    assert (found.rollout, found.version, found.largest) == ("", "", (0.0, 0.0))
    assert found.counts.groups == ()


def test_another_attempt_ends_the_one_before_it_which_is_no_placebo():
    found = drifting.begin(rolled_out(), "r2", NEW)
    assert (found.rollout, found.learned.rollouts, found.learned.restarts) == ("r2", 0, 10)
    assert found.counts.stage == 0
    assert drifting.begin(found, "r2", NEW) is found


def test_the_largest_evidence_of_a_rollout_is_remembered_though_it_fades():
    rng = np.random.default_rng(53)
    found, seen = drifting.begin(quiet(), "r1", NEW), []
    for at in range(60):
        found, weighed = drifting.observe(found, rollout_pane(rng, 150 + at, 1.5 if at < 20 else 0.8), "p1", {})
        seen.append(max((family.log_e for family in weighed.families), default=0.0))
    assert found.largest[0] == max(seen) > seen[-1]


def test_a_state_comes_back_from_bytes_and_goes_on_as_it_would_have():
    for before in (Drift(), quiet(), rolled_out()):
        back = msgspec.msgpack.decode(frozen(before), type=Drift, dec_hook=unpack)
        assert frozen(back) == frozen(before)
        ends = [frozen(drifting.learn(one, quiet_pane(np.random.default_rng(54), 400, NEW))) for one in (before, back)]
        assert ends[0] == ends[1]


def test_a_service_between_rollouts_keeps_no_counts():
    def fields(drift: Drift) -> set[str]:
        return {*msgspec.msgpack.decode(frozen(drift))}

    ended = drifting.learn(rolled_out(), quiet_pane(np.random.default_rng(55), 400, NEW))
    back = msgspec.msgpack.decode(frozen(ended), type=Drift, dec_hook=unpack)
    assert fields(Drift()) == set()
    assert fields(rolled_out()) >= {"past", "rollout", "version", "counts"}
    assert fields(ended) == fields(drifting.learn(back, quiet_pane(np.random.default_rng(56), 401, NEW))) == {"past", "learned"}
