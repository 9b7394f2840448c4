"""The simulated fleet is what its world says, and the same from the same seed."""

import numpy as np
import pytest
from msgspec.structs import replace

from tidegate.detect.shares import quantile_ms
from tidegate.sim import WORLDS, Block, Episode, Fault, FaultKind, Run, World

QUIET = World(
    diurnal=0.0,
    load_sd=0.0,
    share_sd=0.0,
    host_error_sd=0.0,
    host_latency_sd=0.0,
    slow_share=0.0,
    restart_error_sd=0.0,
    restart_latency_sd=0.0,
    rollout_error_sd=0.0,
    rollout_latency_sd=0.0,
    wander_error_sd=0.0,
    wander_latency_sd=0.0,
    shared_latency_sd=0.0,
    retries=1.0,
    bursts=0.0,
    incidents=0.0,
    cold_errors=0.0,
    cold_latency=0.0,
    lost=0.0,
    late=0.0,
    doubled=0.0,
    skew_s=0.0,
)
"""Nothing but chance."""


def run_of(world: World, seed: int = 1, fault: Fault | None = None, **episode: object) -> Run:
    return Run(Episode(world=world, past=None, history_s=300, fault=fault, **episode), np.random.default_rng(seed))


def history(world: World, seconds: int = 300, seed: int = 1) -> list[Block]:
    run = Run(Episode(world=world, past=None, history_s=seconds), np.random.default_rng(seed))
    return [block for _, block in run.prelude_blocks()]


def columns(blocks: list[Block], name: str) -> np.ndarray:
    return np.concatenate([getattr(block, name) for block in blocks])


def test_without_nuisances_rates_errors_and_latencies_are_those_of_the_world():
    blocks = history(QUIET, 600)
    requests, errors, counts = (columns(blocks, name) for name in ("requests", "errors", "counts"))
    assert requests.mean() == pytest.approx(QUIET.rate, rel=0.01)
    assert requests.var() == pytest.approx(QUIET.rate, rel=0.05)
    assert errors.sum() / requests.sum() == pytest.approx(QUIET.error_ratio, rel=0.1)
    assert (counts.sum(axis=2) == requests).all()
    total = counts.sum(axis=(0, 1))
    assert quantile_ms(total, 0.5) == pytest.approx(40.9, rel=0.02)  # 98 % around 40 ms, 2 % above
    above_200_ms = total[62:].sum() / total.sum()  # slot 62 begins at 2 ** (-18 / 8) s = 210 ms
    assert above_200_ms == pytest.approx(0.0093, rel=0.1)


def test_the_same_seed_gives_the_same_fleet_and_another_seed_another():
    one, same, other = (columns(history(WORLDS["all_of_it"], 60, seed), "counts") for seed in (3, 3, 4))
    assert (one == same).all()
    assert (one != other).any()


@pytest.mark.parametrize("nuisance", ["host_error_sd", "wander_error_sd", "bursts", "incidents", "zone_incidents", "retries"])
def test_each_nuisance_of_errors_makes_nodes_or_seconds_differ_more_than_chance(nuisance):
    worse = {"bursts": 30.0, "incidents": 30.0, "zone_incidents": 30.0, "retries": 3.0}.get(nuisance, 0.6)
    calm, rough = (
        columns(history(replace(QUIET, error_ratio=0.01, **changes), 1_200), "errors") for changes in ({}, {nuisance: worse})
    )

    def scatter(errors: np.ndarray) -> float:
        blocks = errors.reshape(-1, 60, errors.shape[1]).sum(axis=1)
        return float(blocks.var() / blocks.mean())

    assert scatter(calm) < 1.2 < scatter(rough)


def test_a_retry_is_an_error_more_and_the_ratio_stays():
    alone, batches = (history(replace(QUIET, error_ratio=0.01, retries=retries), 600) for retries in (1.0, 3.0))
    for blocks in (alone, batches):
        ratio = columns(blocks, "errors").sum() / columns(blocks, "requests").sum()
        assert ratio == pytest.approx(0.01, rel=0.05)


def test_an_incident_of_a_zone_stays_in_it():
    blocks = history(replace(QUIET, error_ratio=0.0, zone_incidents=40.0, burst_sensitivity_sd=0.0), 600)
    errors = columns(blocks, "errors")
    zones = np.array(blocks[0].zones)
    sick = {zone: errors[:, zones == zone].sum(axis=1) > 0 for zone in "abc"}
    assert any((sick[zone] & ~np.any([sick[other] for other in "abc" if other != zone], axis=0)).any() for zone in "abc")


def test_skewed_hosts_have_the_sd_they_say_and_a_longer_tail():
    world = replace(QUIET, host_error_sd=0.6, host_skew=1.4)
    luck = Run(Episode(world=world, others=20_000), np.random.default_rng(1)).fleet._errors
    assert luck.std() == pytest.approx(0.6, rel=0.05)
    assert luck.max() > 5 * 0.6 > -luck.min()


def test_a_restart_is_silent_for_a_moment_and_then_cold():
    run = run_of(replace(QUIET, cold_errors=0.05, cold_latency=1.5))
    list(run.prelude_blocks())
    blocks = list(run.blocks(120))
    canary = blocks[0].canary
    requests, errors = columns(blocks, "requests"), columns(blocks, "errors")
    assert not requests[0, canary].any()
    assert requests[3:, canary].all()
    assert requests[:, blocks[0].rest].all()
    ratio = errors[:, canary].sum(axis=1) / np.maximum(1, requests[:, canary].sum(axis=1))
    assert ratio[3:13].mean() > 5 * ratio[90:].mean()
    slow = np.concatenate([block.slow((51,)) for block in blocks])[:, canary, 0].sum(axis=1)  # above 80 ms
    assert slow[3:13].mean() > 2 * slow[90:].mean()
    assert blocks[0].age_s[0, canary] == pytest.approx(1.0)
    assert np.isinf(blocks[0].age_s[0, blocks[0].rest]).all()


@pytest.mark.parametrize(
    ("fault", "measure"),
    [
        (Fault(FaultKind.ERRORS, 0.05, onset_s=60), "errors"),
        (Fault(FaultKind.LATENCY, 0.5, onset_s=60), "median"),
        (Fault(FaultKind.TAIL, 1.0, onset_s=60), "p99"),
        (Fault(FaultKind.GAUGE, 0.5, onset_s=60), "saturation"),
    ],
)
def test_a_fault_shows_on_the_canaries_from_its_onset_and_on_nobody_else(fault, measure):
    run = run_of(QUIET, fault=fault)
    list(run.prelude_blocks())
    blocks = list(run.blocks(180))
    assert run.onset_ms == run.began_ms + 60_000

    def measured(nodes: np.ndarray, of: slice) -> float:
        requests, errors, counts = (columns(blocks, name)[of][:, nodes] for name in ("requests", "errors", "counts"))
        match measure:
            case "errors":
                return errors.sum() / requests.sum()
            case "median":
                return quantile_ms(counts.sum(axis=(0, 1)), 0.5) or 0.0
            case "p99":
                return quantile_ms(counts.sum(axis=(0, 1)), 0.99) or 0.0
        return float(columns(blocks, "saturation")[of][:, nodes].mean())

    canary, rest = blocks[0].canary, blocks[0].rest
    factor = {"errors": 50.0, "median": 1.5, "p99": 2.0, "saturation": 1.5}[measure]
    assert measured(canary, slice(60, None)) == pytest.approx(
        factor * measured(canary, slice(5, 60)), rel=0.5 * (factor > 10) or 0.1
    )
    assert measured(rest, slice(60, None)) == pytest.approx(measured(rest, slice(5, 60)), rel=0.25)


def test_a_fault_may_hit_some_nodes_or_zones_only():
    run = run_of(QUIET, fault=Fault(FaultKind.ERRORS, 0.9, nodes=1, zones=("b",)))
    list(run.prelude_blocks())
    blocks = list(run.blocks(60))
    sick = columns(blocks, "errors").sum(axis=0) > 500
    assert [blocks[0].names[at] for at in np.flatnonzero(sick)] == ["n001"]


def test_a_crash_is_counted_and_silent_for_a_moment_and_a_silence_lasts():
    crash, silence = (
        run_of(QUIET, fault=Fault(kind, size, onset_s=10, nodes=1))
        for kind, size in ((FaultKind.CRASH, 2), (FaultKind.SILENCE, 0))
    )
    for run in (crash, silence):
        list(run.prelude_blocks())
    blocks = list(crash.blocks(30))
    assert columns(blocks, "exits")[:, 0].tolist() == [0] * 10 + [1] * 5 + [2] * 15
    assert np.flatnonzero(~columns(blocks, "serving")[3:, 0]).tolist() == [7, 8, 12, 13]
    assert not columns(list(silence.blocks(30)), "heard")[10:, 0].any()


def test_a_fork_is_the_original_until_its_fault_begins():
    run = run_of(WORLDS["everything"])
    list(run.prelude_blocks())
    list(run.blocks(60))
    other = run.fork(Fault(FaultKind.ERRORS, 0.5, onset_s=90))
    mine, theirs = (columns(list(one.blocks(60)), "counts") for one in (run, other))
    assert (mine[:30] == theirs[:30]).all()
    assert (mine[30:] != theirs[30:]).any()
