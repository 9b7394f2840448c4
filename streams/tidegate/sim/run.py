"""A run of an episode: blocks, and panes with what decide says beside them."""

import copy
from collections.abc import Iterator

import numpy as np
from msgspec.structs import replace

from tidegate.kpi.clock import GRACE_MS
from tidegate.kpi.pane import PANE_MS, ServicePane
from tidegate.sim.block import NEW, NOBODY, OLD, Block, Integers
from tidegate.sim.episode import START_MS, Cast, Episode
from tidegate.sim.faults import Fault
from tidegate.sim.fleet import Fleet
from tidegate.sim.panes import Panes
from tidegate.wire.nodeseconds import Context

BLOCK_S = 10
"""A fork goes on with the numbers of the original where its blocks begin as theirs: at whole tens of seconds."""
_QUIET = Cast(NOBODY, NOBODY)


class Second:
    """One second: ``context`` is the judge's (an empty placement means that nothing is rolled out), ``clock_ms`` its clock."""

    __slots__ = ("_at", "_panes", "block", "context")

    def __init__(self, panes: Panes, block: Block, at: int, context: Context) -> None:
        self._panes = panes
        self._at = at
        self.block = block
        self.context = context

    @property
    def start_ms(self) -> int:
        """Begin of the second."""
        return self.block.start_ms + PANE_MS * self._at

    @property
    def clock_ms(self) -> int:
        """When the pane closes: after a second of grace (A3)."""
        return self.start_ms + PANE_MS + GRACE_MS

    def pane(self, edges: tuple[int, ...] = ()) -> ServicePane:
        """Return the pane. ``edges``: ascending histogram slots above which requests of the rest are counted, node by node."""
        return self._panes.pane(self._at, edges)


class Run:
    """An episode under way. To be iterated in order: ``prelude`` to its end, then ``rollout`` or ``blocks``."""

    def __init__(self, episode: Episode, rng: np.random.Generator) -> None:
        self.episode = episode
        canaries, controls, nodes = episode.sizes
        self.fleet = Fleet(episode.world, nodes, rng)
        everyone = np.arange(nodes)
        self._cast = Cast(everyone[:canaries], everyone[canaries : canaries + controls], "r1", NEW)
        self._generation = 0
        self._began: int | None = None
        """Second at which the measured rollout began."""

    @property
    def cast(self) -> Cast:
        """Who plays what in the measured rollout."""
        return self._cast

    @property
    def began_ms(self) -> int:
        """When the measured rollout began."""
        return START_MS + PANE_MS * (self.fleet.second if self._began is None else self._began)

    @property
    def onset_ms(self) -> int | None:
        """Begin of the first faulty second; None without a fault, and before a rollout whose fault is there from its restart."""
        fault = self.episode.fault
        return None if fault is None or self._began is None else START_MS + PANE_MS * self._onset(fault)

    def fork(self, fault: Fault | None) -> "Run":
        """Return a run that goes on from here under another fault, with the same luck."""
        other = copy.copy(self)
        other.fleet = copy.deepcopy(self.fleet)
        other.episode = replace(self.episode, fault=fault)
        return other

    def prelude(self) -> Iterator[Second]:
        """Yield what comes before the rollout: with a past, quiet, a restart of some nodes, quiet; else quiet alone."""
        for cast, block in self.prelude_blocks():
            yield from self.seconds(cast, block)

    def rollout(self, seconds: int | None = None) -> Iterator[Second]:
        """Yield the measured rollout, or the next ``seconds`` of it."""
        for block in self.blocks(seconds):
            yield from self.seconds(self._cast, block)

    def context(self, cast: Cast, block: Block) -> Context:
        """Return what decide tells the judge while a block's cast plays."""
        began_ms = int(block.changed_ms[cast.canary].max()) if len(cast.canary) else 0
        return cast.context(block.names, began_ms, self._generation)

    def prelude_blocks(self) -> Iterator[tuple[Cast, Block]]:
        """Yield the arrays of the prelude, and who plays what in each."""
        past = self.episode.past
        if past is not None:
            yield from self._stretch(_QUIET, past.quiet_s)
            nodes = self.fleet.rng.permutation(len(self.fleet.names))[: past.nodes]
            cast = Cast(np.sort(nodes[::2]), np.sort(nodes[1::2]), "r0", OLD)
            self.fleet.restart(nodes)
            yield from self._stretch(cast, past.lasts_s)
        yield from self._stretch(_QUIET, self.episode.history_s)

    def blocks(self, seconds: int | None = None) -> Iterator[Block]:
        """Yield the arrays of the measured rollout, or of the next ``seconds`` of it."""
        if self._began is None:
            self._began = self.fleet.second
            self._generation += 1
            self.fleet.restart(np.concatenate((self._cast.canary, self._cast.control)))
        left = self._began + round(3_600 * self.episode.hours) - self.fleet.second
        left = left if seconds is None else min(left, seconds)
        while left > 0:
            yield self._with(self._cast, self._advance(min(BLOCK_S, left)))
            left -= BLOCK_S

    def _stretch(self, cast: Cast, seconds: int) -> Iterator[tuple[Cast, Block]]:
        self._generation += 1
        for begin in range(0, seconds, BLOCK_S):
            yield cast, self._with(cast, self.fleet.advance(min(BLOCK_S, seconds - begin)))

    def _advance(self, seconds: int) -> Block:
        fault = self.episode.fault
        if fault is None:
            return self.fleet.advance(seconds)
        return self.fleet.advance(seconds, fault, self._hit(fault), self._onset(fault))

    def _hit(self, fault: Fault) -> Integers:
        chosen = [at for at in self._cast.canary.tolist() if not fault.zones or self.fleet.zones[at] in fault.zones]
        return np.array(chosen[: fault.nodes], dtype=np.int64)

    def _onset(self, fault: Fault) -> int:
        began = self._began or 0
        if fault.onset_s is not None:
            return began + fault.onset_s
        hit = self._hit(fault)
        return int(self.fleet.served[hit].min()) if len(hit) else began

    def _with(self, cast: Cast, block: Block) -> Block:
        compared = np.concatenate((cast.canary, cast.control))
        rest = np.setdiff1d(np.arange(len(block.names)), compared)
        return replace(block, version=cast.version, canary=cast.canary, control=cast.control, rest=rest)

    def seconds(self, cast: Cast, block: Block) -> Iterator[Second]:
        """Yield the seconds of a block in which a cast plays."""
        context = self.context(cast, block)
        panes = Panes(block)
        for at in range(len(block)):
            yield Second(panes, block, at, context)
