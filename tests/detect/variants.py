"""A flag on a simulated fleet: the requests of every server thinned into those of two variants, second by second.

Which variant a request has depends on its user alone. So errors of one bunch, a client that tries again, are of one variant.
``PYTHONPATH=. .venv/bin/python -m tests.detect.variants 50`` judges fifty healthy hours, at about 15 s of CPU each.
"""

import sys
from collections.abc import Iterator

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from tidegate.detect import paired
from tidegate.detect.state import SubjectJudgement
from tidegate.detect.verdicts import judge, learn
from tidegate.kpi.flags import Flag, Served, Tally, Variant, pane_of
from tidegate.sim.block import Block
from tidegate.sim.fleet import Fleet
from tidegate.sim.panes import Panes
from tidegate.sim.world import WORLDS, World
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.nodeseconds import CohortMembers, Context
from tidegate.wire.plans import Action, Guardrail

SUBJECT, SERVICE = "flag/web/dark", "shop"
SIDES = (("canary", "on"), ("control", "off"))
FLAG = Flag(SUBJECT, "p1", {f"{SUBJECT}={name}": Variant(name, side, name) for side, name in SIDES}, {"control": "safe"})
ERRORS = Guardrail(metric="errorRatio", max=0.02, of="2/3")
BLOCK_S = 10


class Ramp(Struct, frozen=True, kw_only=True):
    """One stage of a flag: ``share`` of the requests have the new variant, of which ``errors`` more fail; ``mix``: how many times
    as often its users fail anyway.
    """

    share: float = 0.1
    errors: float = 0.0
    slower: int = 0
    """Buckets by which the new variant is slower: eight of them are twice as slow."""
    mix: float = 1.0
    from_s: int = 0
    """Second of the ramp in which the new variant breaks, a whole ten."""
    guardrails: tuple[Guardrail, ...] = (ERRORS,)
    default_guardrails: bool = True

    @property
    def context(self) -> Context:
        """What decide says of it, as the fold gives it to the rules."""
        return Context(
            subject=SUBJECT,
            service=SERVICE,
            epoch=1,
            generation=3,
            placement="p1",
            rollout="dark.1",
            cohorts=tuple(CohortMembers(name=side, version="safe", variants=(name,)) for side, name in SIDES),
            rest_version="safe",
            guardrails=self.guardrails,
            default_guardrails=self.default_guardrails,
            min_requests=100,
        )


def known(fleet: Fleet, seconds: int) -> SubjectJudgement:
    """Return what is known of a service after so many quiet seconds."""
    own = SubjectJudgement()
    for _ in range(seconds // BLOCK_S):
        block = fleet.advance(BLOCK_S)
        panes = Panes(replace(block, rest=np.arange(len(block.names))))
        for at in range(BLOCK_S):
            own = learn(own, panes.pane(at, own.drift.past.edges))
    return own


def verdicts(fleet: Fleet, own: SubjectJudgement, ramp: Ramp, seconds: int) -> Iterator[Verdict]:
    """Yield the verdict of each second of a ramp."""
    state, context = paired.begin(own), ramp.context
    sound = replace(ramp, errors=0.0, slower=0)
    for begin in range(0, seconds, BLOCK_S):
        block = fleet.advance(BLOCK_S)
        for at, told in enumerate(thinned(fleet.rng, block, ramp if begin >= ramp.from_s else sound)):
            pane = pane_of(FLAG, SERVICE, block.start_ms + 1_000 * at, told, state.served)
            state, verdict = judge(replace(state, served=pane.served), context, pane.sides, pane.sides.end_ms + 1_000)
            yield verdict


def thinned(rng: np.random.Generator, block: Block, ramp: Ramp) -> Iterator[Served]:
    """Yield what each second's slices add up to."""
    counts = sound = rng.binomial(block.counts, ramp.share)
    requests = counts.sum(axis=2)
    errors = np.zeros_like(requests)
    for at, node in zip(*np.nonzero(block.errors), strict=True):
        errors[at, node] = _of_canary(rng, int(block.errors[at, node]), min(1.0, ramp.share * ramp.mix))
    errors = np.minimum(errors, requests)
    left = np.minimum(block.errors - errors, block.requests - requests)
    if ramp.errors:
        errors = errors + rng.binomial(requests - errors, ramp.errors)
    if ramp.slower:
        counts = np.roll(counts, ramp.slower, axis=2)
    told = ((requests, errors, counts), (block.requests - requests, left, block.counts - sound))
    for at in range(len(block)):
        sides: dict[str, dict[str, Tally]] = {}
        for (side, _), columns in zip(SIDES, told, strict=True):
            sides[side] = {
                block.names[node]: _tally(*(column[at, node] for column in columns))
                for node in np.flatnonzero(block.heard[at]).tolist()
            }
        yield Served(sides, {}, {})


def _of_canary(rng: np.random.Generator, errors: int, share: float, size: float = 1.5) -> int:
    """Return how many of some errors are of the new variant: bunch by bunch."""
    mine = 0
    while errors:
        bunch = min(errors, int(rng.geometric(1 / size)))
        errors -= bunch
        mine += bunch * (rng.random() < share)
    return mine


def _tally(requests: int, errors: int, counts: np.ndarray) -> Tally:
    tally = Tally()
    tally.requests, tally.errors, tally.counts = int(requests), int(errors), counts
    return tally


def fleet_of(world: World, nodes: int, seed: int) -> Fleet:
    """Return a fleet with its luck."""
    return Fleet(world, nodes, np.random.default_rng(seed))


HEALTHY = (("everything", 3, 0.1, 1.0), ("everything", 1, 0.5, 1.0), ("retries", 3, 0.2, 1.1), ("all_of_it", 4, 0.5, 1.1))
"""World, servers, share, and how many times as often users of the new variant fail anyway."""


def main() -> None:
    """Judge so many healthy hours under a declared limit and the default ones; print what each came to, and the bound."""
    hours, off = int(sys.argv[1]), 0
    for hour in range(hours):
        world, servers, share, mix = HEALTHY[hour % len(HEALTHY)]
        fleet = fleet_of(WORLDS[world], servers, hour)
        told = verdicts(fleet, known(fleet, 900), Ramp(share=share, mix=mix), 3_600)
        false = next((one for one in told if one.outcome is Outcome.FAIL and one.action is Action.ROLLBACK), None)
        off += false is not None
        print(hour, world, servers, share, false.sentence if false else "on", flush=True)  # noqa: T201
    print(f"switched off in {off} of {hours} healthy hours; 95 % bound with none: {3 / hours:.1%} an hour")  # noqa: T201


if __name__ == "__main__":
    main()
