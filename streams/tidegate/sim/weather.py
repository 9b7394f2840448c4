"""What happens to nodes by the hour: bursts on all, incidents of one, incidents of a zone. And what wanders: AR(1) in seconds."""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from tidegate.sim.world import World

Floats = NDArray[np.float64]


class Event(Struct, frozen=True):
    """Something that lasts from one second to another; per node: errors added, logarithm of the factor of latency."""

    begin: int
    end: int
    errors: Floats
    slower: Floats


class Weather:
    """Draws events as time goes on, and says what they do in a block of seconds."""

    def __init__(self, world: World, zones: NDArray[np.int64]) -> None:
        self._world = world
        self._zones = zones
        self._events: list[Event] = []

    def over(self, rng: np.random.Generator, begin: int, seconds: int) -> tuple[Floats, Floats]:
        """Return errors added and logarithms of factors of latency, [seconds, nodes], of a block that follows the last one."""
        self._draw(rng, begin, seconds)
        errors = np.zeros((seconds, len(self._zones)))
        slower = np.zeros_like(errors)
        for event in self._events:
            of = slice(max(0, event.begin - begin), max(0, event.end - begin))
            errors[of] += event.errors
            slower[of] += event.slower
        self._events = [event for event in self._events if event.end > begin + seconds]
        return errors, slower

    def _draw(self, rng: np.random.Generator, begin: int, seconds: int) -> None:
        world, nodes = self._world, len(self._zones)
        hours = seconds / 3_600
        for _ in range(rng.poisson(world.bursts * hours)):
            self._shared(rng, (begin, seconds), world.burst_s, np.ones(nodes))
        for zone in range(len(world.zones)):
            for _ in range(rng.poisson(world.zone_incidents * hours)):
                self._shared(rng, (begin, seconds), world.zone_incident_s, (self._zones == zone).astype(float))
        for _ in range(rng.poisson(world.incidents * hours * nodes)):
            alone = np.zeros(nodes)
            alone[rng.integers(nodes)] = 1.0
            start, end = self._when(rng, (begin, seconds), world.incident_s)
            event = Event(start, end, world.incident_errors * alone, np.log(world.incident_latency) * alone)
            self._events.append(event)

    def _shared(
        self, rng: np.random.Generator, block: tuple[int, int], lasts_s: tuple[float, float], whom: NDArray[np.float64]
    ) -> None:
        world = self._world
        start, end = self._when(rng, block, lasts_s)
        felt = whom * np.exp(world.burst_sensitivity_sd * rng.standard_normal(len(whom)))
        errors, slower = rng.uniform(*world.burst_errors), np.log(rng.uniform(*world.burst_latency))
        self._events.append(Event(start, end, errors * felt, slower * felt))

    def _when(self, rng: np.random.Generator, block: tuple[int, int], lasts_s: tuple[float, float]) -> tuple[int, int]:
        start = block[0] + int(rng.integers(block[1]))
        return start, start + max(1, round(rng.uniform(*lasts_s)))


class Wander:
    """A stationary AR(1) (an Ornstein-Uhlenbeck process seen each second): sd and time constant in seconds."""

    def __init__(self, rng: np.random.Generator, sd: float, constant_s: float, width: int) -> None:
        self._keep = float(np.exp(-1.0 / constant_s))
        self._sd = sd
        self._last: Floats = sd * rng.standard_normal(width)

    def over(self, rng: np.random.Generator, seconds: int) -> Floats:
        """Return the next seconds, [seconds, width]."""
        fresh = rng.standard_normal((seconds, len(self._last)))
        fresh *= self._sd * np.sqrt(1.0 - self._keep**2)
        last = self._last
        for at in range(seconds):
            fresh[at] += self._keep * last
            last = fresh[at]
        self._last = last.copy()
        return fresh
