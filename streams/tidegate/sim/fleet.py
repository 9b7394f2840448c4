"""The fleet: nodes with their luck, second by second, in blocks."""

import numpy as np
from numpy.typing import NDArray

from tidegate.sim.block import Block
from tidegate.sim.episode import START_MS
from tidegate.sim.faults import Fault, FaultKind
from tidegate.sim.latency import draw
from tidegate.sim.weather import Wander, Weather
from tidegate.sim.world import World

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

DAY_S = 86_400
NEVER = -1_000_000
EXITS_APART_S, DOWN_S = 5, 2
SATURATION, SATURATION_SD, SATURATION_NOISE = 0.4, 0.15, 0.02
"""Of the gauge: mean, sd between nodes and sd from second to second, of its logarithm."""


class Fleet:
    """Mutable, and a function of the numbers drawn from ``rng`` alone; a deep copy goes on as the original would."""

    def __init__(self, world: World, nodes: int, rng: np.random.Generator) -> None:
        self.world = world
        self.rng = rng
        self.second = 0
        self.names = tuple(f"n{number:03}" for number in range(nodes))
        zone = np.arange(nodes) % len(world.zones)
        self.zones = tuple(world.zones[at] for at in zone)
        self._share = np.exp(world.share_sd * rng.standard_normal(nodes))
        self._errors = world.host_error_sd * self._luck(nodes)
        self._slower = world.host_latency_sd * self._luck(nodes)
        self._slower += np.log(world.slow_factor) * (rng.random(nodes) < world.slow_share)
        self._own_errors = world.restart_error_sd * self._luck(nodes)
        self._own_slower = world.restart_latency_sd * self._luck(nodes)
        self._saturation = np.log(SATURATION) + SATURATION_SD * rng.standard_normal(nodes)
        self._noon = rng.uniform(0, DAY_S)
        self._load = Wander(rng, world.load_sd, world.load_s, 1)
        self._wander_errors = Wander(rng, world.wander_error_sd, world.wander_error_s, nodes)
        self._wander_slower = Wander(rng, world.wander_latency_sd, world.wander_latency_s, nodes)
        self._shared_slower = Wander(rng, world.shared_latency_sd, world.shared_latency_s, 1)
        self._weather = Weather(world, zone)
        self.ordered = np.full(nodes, NEVER)
        """Second of the last order to restart."""
        self.served = np.full(nodes, NEVER)
        """First second of service since."""
        self._cold = np.zeros(nodes)
        self.skew_ms = np.round(1_000 * world.skew_s * rng.standard_normal(nodes)).astype(np.int64)

    @property
    def now_ms(self) -> int:
        """End of the last second."""
        return START_MS + 1_000 * self.second

    def restart(self, nodes: Integers) -> None:
        """Restart nodes now, as one rollout."""
        world, rng = self.world, self.rng
        common_errors, common_slower, cold = rng.standard_normal(3)
        number = len(nodes)
        self._own_errors[nodes] = world.restart_error_sd * self._luck(number) + world.rollout_error_sd * common_errors
        self._own_slower[nodes] = world.restart_latency_sd * self._luck(number) + world.rollout_latency_sd * common_slower
        self._cold[nodes] = np.exp(world.cold_rollout_sd * cold + world.cold_node_sd * rng.standard_normal(number))
        self.ordered[nodes] = self.second
        first, last = world.start_s
        self.served[nodes] = self.second + rng.integers(first, last, number, endpoint=True)

    def advance(self, seconds: int, fault: Fault | None = None, hit: Integers | None = None, onset: int = 0) -> Block:
        """Return the next seconds. ``fault`` acts on the nodes ``hit`` from the second ``onset`` on."""
        world, rng = self.world, self.rng
        at = self.second + np.arange(seconds)
        nodes = len(self.names)
        acting = np.zeros((seconds, nodes), dtype=np.bool_)
        if fault is not None and hit is not None:
            acting[:, hit] = (at >= onset)[:, None]
        down, exits = self._exits(fault, acting, at - onset)
        serving = (at[:, None] >= self.served[None, :]) & ~down
        requests = rng.poisson(self._load_of(at)) * serving
        errors, slower = self._weather.over(rng, self.second, seconds)
        cold = self._cold * np.exp(-np.maximum(at[:, None] - self.served[None, :], 0) / world.cold_s)
        errors += world.error_ratio * np.exp(self._errors + self._own_errors + self._wander_errors.over(rng, seconds))
        errors += world.cold_errors * cold
        slower += self._slower + self._own_slower + self._wander_slower.over(rng, seconds)
        slower += self._shared_slower.over(rng, seconds) + np.log1p(world.cold_latency * cold)
        tail = np.zeros_like(slower)
        if fault is not None:
            errors += acting * (max(0.0, fault.size - world.error_ratio) if fault.kind is FaultKind.ERRORS else 0.0)
            slower += acting * (np.log1p(fault.size) if fault.kind is FaultKind.LATENCY else 0.0)
            tail += acting * (np.log1p(fault.size) if fault.kind is FaultKind.TAIL else 0.0)
        counts = draw(world, rng, requests, slower, tail)
        failed = self._failed(requests, errors)
        lost, late, doubled = (rng.random((seconds, nodes), dtype=np.float32) for _ in range(3))
        silent = acting if fault is not None and fault.kind is FaultKind.SILENCE else np.False_
        gauge = fault is not None and fault.kind is FaultKind.GAUGE
        late_rows = serving & (late < world.late) & ~silent & (lost >= world.lost)
        block = Block(
            start_ms=self.now_ms,
            names=self.names,
            zones=self.zones,
            requests=requests,
            errors=failed,
            counts=counts,
            heard=serving & (lost >= world.lost) & ~late_rows & ~silent,
            agent_heard=rng.random((seconds, nodes), dtype=np.float32) >= world.lost + world.late,
            serving=serving,
            late=late_rows,
            doubled=doubled < world.doubled,
            exits=exits,
            changed_ms=np.where(self.ordered > NEVER, START_MS + 1_000 * self.ordered, 0),
            saturation=self._gauge(acting * np.log1p(fault.size)) if gauge and fault is not None else None,
        )
        self.second += seconds
        return block

    def _luck(self, number: int) -> Floats:
        """Return standardised differences between hosts."""
        skew = self.world.host_skew
        if not skew:
            return self.rng.standard_normal(number)
        shape = 4.0 / skew**2
        drawn: Floats = self.rng.gamma(shape, size=number)
        drawn -= shape
        drawn /= np.sqrt(shape)
        return drawn

    def _load_of(self, at: Integers) -> Floats:
        day = self.world.diurnal * np.sin(2 * np.pi * (at + self._noon) / DAY_S)
        load = (self.world.rate * (1 + day))[:, None] * np.exp(self._load.over(self.rng, len(at)))
        shared: Floats = load * self._share
        return shared

    def _failed(self, requests: Integers, ratio: Floats) -> Integers:
        """Return errors in batches of geometric size, at most all requests."""
        rng, retries = self.rng, self.world.retries
        batches = rng.poisson(requests * ratio / retries)
        if retries > 1:
            some = np.nonzero(batches)
            batches[some] += rng.negative_binomial(batches[some], 1.0 / retries)
        return np.minimum(batches, requests)

    def _gauge(self, higher: Floats) -> Floats:
        noise = SATURATION_NOISE * self.rng.standard_normal(higher.shape)
        found: Floats = np.exp(self._saturation + noise + higher)
        return found

    def _exits(self, fault: Fault | None, acting: Flags, since: Integers) -> tuple[Flags, Integers]:
        """Return who is down because of a crash, and how often each has exited."""
        if fault is None or fault.kind is not FaultKind.CRASH:
            return np.zeros_like(acting), np.zeros(acting.shape, dtype=np.int64)
        most = max(1, round(fault.size))
        number = np.clip(since // EXITS_APART_S + 1, 0, most)
        down = (since - EXITS_APART_S * (number - 1) < DOWN_S) & (number > 0)
        return acting & down[:, None], acting * number[:, None]
