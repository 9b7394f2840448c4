"""An episode: a world, a rollout in it, its past, and perhaps a fault."""

from msgspec import Struct
from msgspec.structs import replace

from tidegate.sim.block import OLD, Integers
from tidegate.sim.faults import Fault
from tidegate.sim.world import World
from tidegate.wire.names import service_subject
from tidegate.wire.nodeseconds import CohortMembers, Context

START_MS = 1_700_000_000_000
SERVICE = "shop"


class Past(Struct, frozen=True, kw_only=True):
    """An earlier rollout of the version that runs: nodes restarted, nothing else. It is how a cold start can be learned."""

    nodes: int = 20
    """Half of them canaries, half controls."""
    quiet_s: int = 1_800
    """Before it, as before the measured one."""
    lasts_s: int = 1_800


class Episode(Struct, frozen=True, kw_only=True):
    """``past`` None: a service that nobody has seen restart."""

    world: World = World()
    canaries: int = 5
    controls: int | None = None
    """As many as canaries, at most 20 (B2)."""
    others: int = 20
    """Nodes that stay as they are, beside them."""
    hours: float = 1.0
    history_s: int = 1_800
    """Quiet time right before the rollout."""
    past: Past | None = Past()
    fault: Fault | None = None

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Canaries, controls, all nodes."""
        controls = min(self.canaries, 20) if self.controls is None else self.controls
        return self.canaries, controls, self.canaries + controls + self.others


class Cast(Struct, frozen=True):
    """Who plays what in a stretch of time; indices of nodes. Nobody: quiet."""

    canary: Integers
    control: Integers
    rollout: str = ""
    version: str = OLD

    def context(self, names: tuple[str, ...], started_ms: int, generation: int) -> Context:
        """Return what decide would tell the judge."""
        quiet = Context(subject=service_subject(SERVICE), service=SERVICE, epoch=1, generation=generation, rest_version=OLD)
        if not self.rollout:
            return quiet
        members = (("canary", self.version, self.canary), ("control", OLD, self.control))
        return replace(
            quiet,
            placement=f"{self.rollout}/0",
            rollout=self.rollout,
            attempt=1,
            cohorts=tuple(
                CohortMembers(name=name, version=version, nodes=tuple(names[at] for at in nodes))
                for name, version, nodes in members
                if len(nodes)
            ),
            min_requests=100,
            stage_nodes=len(self.canary),
            started_ms=started_ms,
        )
