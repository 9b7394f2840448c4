"""Custom ratios and gauges as evidence: what is seen, what is not, and what each knob prevents."""

import math
from collections.abc import Callable
from functools import cache

import msgspec
import numpy as np
import pytest
from msgspec import Struct
from msgspec.structs import replace
from tests.detect.healthy import context

from tidegate.detect.drift import custom as counting
from tidegate.detect.drift import custom_weigh as weighing
from tidegate.detect.drift import state as drifting
from tidegate.detect.drift.arrays import pack, unpack
from tidegate.detect.drift.custom import METRICS_MAX, Custom, Guard, guards_of
from tidegate.detect.drift.custom_weigh import KEPT_MAX, PRIORS, teach_custom
from tidegate.detect.drift.learned import Learned, Spread
from tidegate.detect.drift.state import Drift
from tidegate.detect.drift.weigh import ALPHA, Family, Weighed
from tidegate.detect.evidence import judge_evidence
from tidegate.detect.state import SubjectJudgement
from tidegate.detect.verdicts import judge
from tidegate.kpi.pane import CohortPane, NodePane, ServicePane
from tidegate.wire.judgement import Outcome
from tidegate.wire.plans import Action, Guardrail
from tidegate.wire.reasons import Reason

START_MS = 1_700_000_040_000
MISS, SATURATION = "ratio.miss", "gauge.saturation"
Times = Callable[[int], np.ndarray | float]
Ages = Callable[[int], np.ndarray | float]
ALIKE = Learned(spreads={MISS: Spread(host=0.15, node=0.2, common=0.06), SATURATION: Spread(host=0.15, node=0.15, common=0.06)})
"""A service whose servers are known to be much alike."""


def limit(metric: str, action: Action = Action.ROLLBACK) -> Guardrail:
    return Guardrail(metric=metric, max_ratio_to_control=2.0, action=action)


class World(Struct, frozen=True, kw_only=True):
    """Canaries first, then controls; node ``i`` of a cohort stands in zone ``i % zones``."""

    metric: str = MISS
    canaries: int = 5
    controls: int = 5
    zones: int = 1
    seconds: int = 120
    host: float = 0.15
    drift: float = 0.1
    """Sd of what wanders within five minutes."""
    quick: float = 0.1
    """Within half a minute."""
    level: float = 0.04
    """Part of a whole; a gauge stands at ten times that."""
    bunch: int = 1
    times: Times = lambda _: 1.0
    """How many times the usual, [nodes]."""
    ages: Ages = lambda at: at + 1.0
    learned: Learned = Learned()
    guardrails: tuple[Guardrail, ...] = ()
    seed: int = 1

    @property
    def names(self) -> list[str]:
        return [f"c{at:02}" for at in range(self.canaries)] + [f"k{at:02}" for at in range(self.controls)]


def wander(rng: np.random.Generator, sd: float, lasting_s: float, shape: tuple[int, int]) -> np.ndarray:
    keep, found = math.exp(-1.0 / lasting_s), np.empty(shape)
    found[0] = sd * rng.standard_normal(shape[1])
    for at in range(1, shape[0]):
        found[at] = keep * found[at - 1] + sd * math.sqrt(1.0 - keep * keep) * rng.standard_normal(shape[1])
    return found


def drawn(world: World) -> tuple[np.ndarray, np.ndarray]:
    """Parts and wholes [seconds, nodes]; of a gauge, values and ones."""
    rng, shape = np.random.default_rng(world.seed), (world.seconds, len(world.names))
    logs = world.host * rng.standard_normal(shape[1]) + wander(rng, 0.1, 60.0, (shape[0], 1))
    logs = logs + wander(rng, world.drift, 300.0, shape) + wander(rng, world.quick, 30.0, shape)
    level = world.level * np.exp(logs) * np.array([np.broadcast_to(world.times(at), shape[1]) for at in range(shape[0])])
    if world.metric.startswith("gauge."):
        return 10.0 * level, np.ones(shape)
    whole = rng.poisson(50, shape)
    return np.minimum(world.bunch * rng.poisson(whole * level / world.bunch), whole), whole


def node(world: World, at: int, told: tuple[float, float]) -> NodePane:
    kind, _, name = world.metric.partition(".")
    return NodePane(
        node=world.names[at],
        requests=50,
        zone="xyz"[(at if at < world.canaries else at - world.canaries) % world.zones],
        telemetry=True,
        gauges={name: float(told[0])} if kind == "gauge" else {},
        ratios={name: (int(told[0]), int(told[1]))} if kind == "ratio" else {},
    )


def pane(world: World, at: int, table: tuple[np.ndarray, np.ndarray]) -> ServicePane:
    rows = [node(world, place, (table[0][at, place], table[1][at, place])) for place in range(len(world.names))]
    sides = {"canary": rows[: world.canaries], "control": rows[world.canaries :]}
    cohorts = {
        name: CohortPane(name=name, expected=tuple(one.node for one in side), nodes={one.node: one for one in side})
        for name, side in sides.items()
    }
    return ServicePane(service="shop", start_ms=START_MS + 1_000 * at, cohorts=cohorts)


class Played(Struct):
    drift: Drift
    weighed: list[Weighed]

    def family(self, at: int = -1, metric: str = "") -> Family:
        return next(one for one in self.weighed[at].families if metric in {"", one.family} and "." in one.family)

    def delay_s(self, *, pause: bool = False) -> float:
        """Seconds to the retreat."""
        for at, weighed in enumerate(self.weighed):
            for one in weighed.families:
                over = one.log_e_pause >= one.threshold_pause if pause else one.log_e >= one.threshold
                if "." in one.family and over:
                    return at + 1.0
        return math.inf


def play(world: World, drift: Drift | None = None, begin: int = 0) -> Played:
    played = Played(drift or drifting.begin(Drift(learned=world.learned), "r1", "v2"), [])
    table = drawn(world)
    for at in range(begin, world.seconds):
        ages = np.broadcast_to(world.ages(at), len(world.names)).tolist()
        played.drift, weighed = drifting.observe(
            played.drift,
            pane(world, at, table),
            "p1",
            dict(zip(world.names, ages, strict=True)),
            world.guardrails or (limit(world.metric),),
        )
        played.weighed.append(weighed)
    return played


def canaries(world: World, times: float, number: int | None = None, begin: int = 0) -> World:
    """A world in which canaries (the first so many) have so many times the usual."""
    sick = np.ones(len(world.names))
    sick[: world.canaries if number is None else number] = times
    return replace(world, times=lambda at: sick if at >= begin else 1.0)


# What is guarded.


def test_ratios_and_gauges_that_a_plan_guards_are_evidence_and_nothing_else_is():
    rails = (Guardrail(metric="errorRatio", max=0.1), limit(MISS), Guardrail(metric=SATURATION, max=0.9), limit(MISS))
    assert guards_of(rails) == (Guard(MISS), Guard(SATURATION))
    assert guards_of(()) == ()


def test_who_guards_with_a_pause_alone_wants_no_rollback():
    assert guards_of((limit(MISS, Action.PAUSE),)) == (Guard(MISS, pauses=True),)
    assert guards_of((limit(MISS, Action.PAUSE), limit(MISS))) == (Guard(MISS),)


def test_what_is_guarded_is_bounded():
    assert len(guards_of([limit(f"ratio.r{at}") for at in range(20)])) == METRICS_MAX


def test_all_families_share_one_budget():
    world = World(seconds=5)
    rails = (limit(MISS), *(limit(f"ratio.r{at}") for at in range(3)))
    for guardrails in ((), (limit(MISS),), rails):
        found = play(replace(world, guardrails=guardrails or (Guardrail(metric="p95", max=9.0),))).weighed[-1].families
        assert sum(math.exp(-one.threshold) for one in found) <= ALPHA * (1 + 1e-9)


def test_a_metric_that_nobody_reports_is_no_family():
    found = play(World(seconds=5, guardrails=(limit("ratio.other"), limit(MISS)))).weighed[-1].families
    assert {one.family for one in found} == {"errors", "latency", MISS}


# What is seen.


@pytest.mark.parametrize(
    ("metric", "size", "number", "learned", "most_s"),
    [
        (MISS, 3.0, 20, Learned(), 10),
        (MISS, 2.0, 20, ALIKE, 30),
        (MISS, 3.0, 5, ALIKE, 60),
        (MISS, 2.0, 10, ALIKE, 90),
        (SATURATION, 2.0, 20, Learned(), 90),
        (SATURATION, 1.7, 20, ALIKE, 120),
        (SATURATION, 3.0, 5, ALIKE, 180),
    ],
)
def test_what_is_higher_on_all_canaries_is_rolled_back(metric, size, number, learned, most_s):
    world = World(metric=metric, canaries=number, controls=number, zones=3, seconds=most_s, learned=learned)
    for seed in (1, 2):
        assert play(canaries(replace(world, seed=seed), size)).delay_s() <= most_s


def test_what_begins_later_is_seen_against_what_the_same_servers_did_before():
    world = World(seconds=330, host=0.5)
    later = play(canaries(world, 4.0, begin=250))
    assert 250 < later.delay_s() <= 330
    assert play(canaries(world, 4.0)).delay_s() == math.inf


def test_the_sentence_tells_how_many_times_as_high_and_beside_whom():
    played = play(canaries(World(metric=SATURATION, canaries=20, controls=20, seconds=90), 2.0))
    found = judge_evidence(played.weighed[-1], played.drift, compared=True)
    assert (found.outcome, found.action, found.metric) == (Outcome.FAIL, Action.ROLLBACK, SATURATION)
    times = found.canary / (1 - found.canary) / (found.control / (1 - found.control))
    assert 1.6 < times < 2.6
    assert found.sentence.startswith(f"{SATURATION} is {times:.1f} times as high as on servers of the same age")


def test_evidence_of_who_wants_a_pause_pauses_and_hides_no_rollback():
    world = canaries(World(canaries=20, controls=20, seconds=12), 5.0)
    found = play(replace(world, guardrails=(limit(MISS, Action.PAUSE),)))
    assert judge_evidence(found.weighed[-1], found.drift, compared=True).action is Action.PAUSE
    (family,) = [one for one in found.weighed[-1].families if one.family == MISS]
    errors = replace(family, family="errors", metric="errors", log_e=family.log_e - 1.0, pauses=False)
    both = Weighed(families=(family, errors), canaries=20)
    assert judge_evidence(both, found.drift, compared=True).action is Action.ROLLBACK


# What is not.


@pytest.mark.parametrize("number", [3, 5, 20])
@pytest.mark.parametrize(
    "world",
    [
        World(metric=SATURATION, host=0.15, drift=0.15),
        World(metric=SATURATION, host=0.4, drift=0.15),
        World(metric=SATURATION, host=0.15, drift=0.15, learned=ALIKE),
        World(host=0.4, drift=0.2, bunch=3),
    ],
    ids=["gauge", "gauge with different hosts", "gauge, learned", "ratio"],
)
@pytest.mark.thorough
def test_healthy_canaries_are_left_alone(world, number):
    for seed in range(2):
        played = play(replace(world, canaries=number, controls=number, zones=3, seconds=240, seed=seed))
        assert played.delay_s() == played.delay_s(pause=True) == math.inf


def test_one_bad_canary_of_five_is_left_out():
    played = play(canaries(World(learned=ALIKE, seconds=200), 20.0, number=1))
    assert played.delay_s() == math.inf
    assert played.family().deleted == ("c00",)
    assert played.family().log_e_pause > played.family().log_e + 1.0


@pytest.mark.parametrize(("number", "others"), [(2, 5), (2, 2), (5, 2)])
def test_with_fewer_than_three_on_either_side_it_pauses_at_most(number, others):
    played = play(canaries(World(canaries=number, controls=others, learned=ALIKE, seconds=100), 25.0))
    assert played.delay_s() == math.inf
    assert played.delay_s(pause=True) < 100


def test_an_incident_of_a_zone_cancels_out():
    world = World(canaries=6, controls=6, zones=3, learned=ALIKE, seconds=120)
    ill = np.array([6.0 if at % 6 % 3 == 0 else 1.0 for at in range(12)])
    assert play(replace(world, times=lambda _: ill)).delay_s() == math.inf


def test_lower_is_better():
    assert play(canaries(World(canaries=20, controls=20, learned=ALIKE), 0.2)).delay_s(pause=True) == math.inf


def test_a_gauge_of_which_controls_have_none_is_no_evidence():
    silent = np.array([5.0] * 5 + [0.0] * 5)
    found = play(World(metric=SATURATION, times=lambda _: silent, learned=ALIKE, seconds=60))
    assert all("." not in one.family for one in found.weighed[-1].families)


# What is remembered.


def frozen(value: object) -> bytes:
    return msgspec.msgpack.encode(value, enc_hook=pack)


def test_a_state_comes_back_from_bytes_and_goes_on_as_it_would_have():
    world = canaries(World(metric=SATURATION, zones=3, seconds=80), 2.0)
    half = play(replace(world, seconds=41)).drift
    back = msgspec.msgpack.decode(frozen(half), type=Drift, dec_hook=unpack)
    assert frozen(back) == frozen(half)
    # A world of another length has another luck: both go on in the same one.
    one, other = play(world, half, 41), play(world, back, 41)
    assert frozen(one.drift) == frozen(other.drift)
    assert one.weighed == other.weighed


def test_a_state_from_before_there_was_any_goes_on():
    world = canaries(World(canaries=20, controls=20, seconds=60), 4.0)
    without = play(replace(world, seconds=30, guardrails=(Guardrail(metric="p95", max=9.0),))).drift
    assert "custom" not in msgspec.msgpack.decode(frozen(without))
    assert play(world, without, 30).delay_s() < 30


def test_the_state_is_small_and_ends_with_the_rollout():
    rails = tuple(limit(f"ratio.r{at}") for at in range(METRICS_MAX))
    world = World(canaries=20, controls=20, zones=3, seconds=200)
    eight = play(replace(world, guardrails=(*rails[1:], limit(MISS))))
    assert len(frozen(eight.drift.custom)) < 25_000
    assert len(frozen(play(replace(world, canaries=5, controls=5)).drift.custom)) < 3_500
    assert drifting.finish(eight.drift, "v2").custom.metrics == ()


@cache
def ended(host: float) -> Custom:
    return play(World(metric=SATURATION, canaries=20, controls=20, host=host, drift=0.05, seconds=200)).drift.custom


def test_a_rollout_teaches_how_far_controls_are_apart():
    narrow, wide = (teach_custom(Learned(), ended(host)).spreads[SATURATION] for host in (0.1, 1.2))
    assert narrow.host < PRIORS["gauge"].host < wide.host
    assert narrow.node == wide.node == PRIORS["gauge"].node
    learned = Learned()
    for _ in range(30):
        learned = teach_custom(learned, ended(0.1))
    assert learned.spreads[SATURATION].host < 0.15


def test_the_spreads_that_are_remembered_are_bounded():
    learned = Learned(spreads={"errors": Spread()} | {f"ratio.r{at}": Spread() for at in range(KEPT_MAX)})
    found = teach_custom(learned, ended(0.1)).spreads
    assert len(found) == KEPT_MAX + 1
    assert SATURATION in found
    assert "errors" in found
    assert "ratio.r0" not in found


def test_nothing_is_learned_without_custom_metrics():
    assert teach_custom(ALIKE, Custom()) is ALIKE


# What each knob prevents.


def spells(world: World, number: int) -> World:
    """A queue that is empty four seconds in five; and long on some canaries for a minute and a half."""
    busy = np.array([200.0] * number + [0.0] * (len(world.names) - number))
    return replace(world, times=lambda at: (0.05 if at % 5 == 0 else 0.0) + (busy if 5 <= at < 95 else 0.0))


GAUGE = World(metric=SATURATION, learned=ALIKE)
SAME = Learned(spreads={MISS: Spread(host=0.01, node=0.01, common=0.01)})
LOUD = np.array([5.0] * 5 + [1.0] * 5)
KNOBS = {
    # A tenth more is a fact and no fault.
    "LEAST": (
        lambda: canaries(World(canaries=20, controls=20, level=0.3, host=0.0, drift=0.0, quick=0.0, learned=SAME), 1.14),
        weighing,
        "LEAST",
        1.0,
    ),
    # An old server is not compared with a young one: memory grows for an hour.
    "AGE_TIMES": (
        lambda: replace(canaries(replace(GAUGE, seconds=60), 6.0), ages=lambda at: np.array([at + 900.0] * 5 + [at + 1.0] * 5)),
        counting,
        "AGE_TIMES",
        1e9,
    ),
    # A queue that is empty but for spells has no level.
    "DENSE": (lambda: spells(replace(GAUGE, seconds=100), 4), counting, "DENSE", 0.0),
    # One server may have a defect.
    "FEW": (lambda: canaries(replace(GAUGE, canaries=2, seconds=100), 20.0), weighing, "FEW", 0),
    # A gauge says the same second after second: a spike of four seconds is one.
    "GAUGE_DISPERSION": (
        lambda: replace(GAUGE, seconds=19, times=lambda at: LOUD if 15 <= at < 19 else 1.0),
        weighing,
        "GAUGE_DISPERSION",
        0.1,
    ),
    # Three controls may happen to be alike.
    "TRUSTED_NODES": (
        lambda: canaries(
            World(metric=SATURATION, canaries=3, controls=3, host=0.0, drift=0.0, quick=0.02, level=0.1, seconds=200), 2.8
        ),
        weighing,
        "TRUSTED_NODES",
        1e-9,
    ),
    # Parts come in bunches, which nobody knows in the first seconds.
    "RATIO_DISPERSION": (
        lambda: replace(GAUGE, metric=MISS, canaries=3, controls=3, bunch=25, level=0.01, seconds=29, seed=31),
        weighing,
        "RATIO_DISPERSION",
        0.05,
    ),
}


@pytest.mark.parametrize("name", KNOBS)
@pytest.mark.thorough
def test_what_each_knob_prevents(name, monkeypatch):
    make, module, knob, off = KNOBS[name]
    assert play(make()).delay_s() == math.inf
    monkeypatch.setattr(module, knob, off)
    if knob == "GAUGE_DISPERSION":
        monkeypatch.setattr(module, "GAUGE_LEAST", off)
    assert play(make()).delay_s() < math.inf


def test_two_quiet_blocks_do_not_say_that_a_metric_never_bunches(monkeypatch):
    lucky = Custom(metrics=(MISS,), level=np.array([[500.0], [1e4], [200.0], [200.0]]), scatter=np.array([[0.01], [5.0], [2.0]]))
    assert weighing.dispersion(lucky)[0] > 3.0
    monkeypatch.setattr(weighing, "TRUSTED_PAIRS", 1e-9)
    assert weighing.dispersion(lucky)[0] == 1.0


def test_whatever_a_ratio_counts_a_second_of_a_server_is_one_event_before_it_is_known():
    bytes_of = Custom(metrics=(MISS,), level=np.array([[1e9], [4e9], [100.0], [100.0]]), scatter=np.zeros((3, 1)))
    assert weighing.dispersion(bytes_of)[0] == 1e7


def test_controls_with_next_to_no_events_say_nothing_of_their_spread(monkeypatch):
    rare = play(World(level=0.0005, seconds=40)).drift.custom
    known = [PRIORS["ratio"]]
    prior = known[0].host ** 2 + known[0].node ** 2
    assert weighing.spread(rare, known, weighing.dispersion(rare))[0] == pytest.approx(prior)
    monkeypatch.setattr(weighing, "EVENTS_MIN", 0.0)
    assert weighing.spread(rare, known, weighing.dispersion(rare))[0] < 0.7 * prior


def test_a_spell_of_one_server_is_told_from_what_all_of_a_cohort_do():
    blocks = np.ones((5, 2, 2, 1)) * 30.0
    blocks[:, 0, 0] = 90.0
    square, chance, _ = counting._residuals(blocks)
    assert square[0] < chance[0]
    blocks[2, 0, 0] = 900.0
    square, chance, _ = counting._residuals(blocks)
    assert square[0] > 10.0 * chance[0]


def test_a_verdict_carries_it():
    rails = (Guardrail(metric=MISS, max_ratio_to_control=50.0),)
    world = canaries(World(canaries=20, controls=20, seconds=15), 4.0)
    table, state = drawn(world), SubjectJudgement()
    placement = context(world.names[:20], world.names[20:], guardrails=rails, default_guardrails=False)
    for at in range(world.seconds):
        state, verdict = judge(state, placement, pane(world, at, table), START_MS + 1_000 * at + 2_000)
    (found,) = [one for one in verdict.evidence if one.family == MISS]
    assert (verdict.reason, verdict.action, verdict.metric) == (Reason.EVIDENCE, Action.ROLLBACK, MISS)
    assert found.compared_with == "controls"
    assert found.log_e >= found.threshold
