"""Groups for tests: services a, b, c, ... on one small fleet, installed, and a group of them from version 1 to version 2."""

from msgspec.structs import replace
from tests.rollout.fleet import FLEET, Fleet, envelope, plan

from tidegate.rollout.events import Tick
from tidegate.rollout.ledger import rebuild
from tidegate.wire.decisions import GroupState
from tidegate.wire.documents import Phase
from tidegate.wire.groups import Group, Wave
from tidegate.wire.plans import Stage

NAME = "group/all"
QUICK = (Stage(set_weight=100, bake="2s", min_requests=10),)


class Mortal(Fleet):
    """A fleet whose author dies when it is about to write certain records; its successor knows only what stands in the log."""

    def __init__(self, *args, **fields) -> None:
        self.dies_at: set[int] = set()
        super().__init__(*args, **fields)

    def feed(self, event):
        """As the decision agent does: what a record makes possible in turn is looked at right after it."""
        decisions = super().feed(event)
        if decisions:
            self.feed(Tick())
        return decisions

    def write(self, event, decisions):
        at = next((at for at in range(len(decisions)) if len(self.records) + at in self.dies_at), None)
        if at is None:
            return super().write(event, decisions)
        self.dies_at.discard(len(self.records) + at)
        super().write(event, decisions[:at])
        self.check_rebuilt()
        self.ledger = replace(rebuild(enumerate(self.records)), epoch=1)
        # A question is asked again; where its answer stands, only time goes on.
        self.feed(event)
        self.feed(Tick())
        return decisions


def installed(*services: str, nodes: int = 4, kind: type[Fleet] = Fleet) -> Fleet:
    fleet = kind(nodes=nodes, services=services)
    for service in services:
        first = (Stage(set_weight=100, bake="0s"),)
        fleet.submit(plan("1", None, first, id=f"{service}-1", service=service, watch="1s", max_unavailable="100%"))
        fleet.until(Phase.DONE, subject=f"svc/{service}")
    return fleet


def member(service: str, version: str = "2", before: str | None = "1", **fields):
    known = {"id": f"{service}-{version}", "service": service, "watch": "3s", "max_unavailable": "100%", "control": "none"}
    return plan(version, before, fields.pop("stages", QUICK), **(known | fields))


def group(fleet: Fleet, *waves, bake: str | None = None, name: str = "all") -> Group:
    """Waves of plans; a plan given as a service's name is ``member`` of it."""
    plans = [[member(one) if isinstance(one, str) else one for one in wave] for wave in waves]
    return Group(
        name=name,
        fleet=FLEET,
        issued_ms=fleet.now_ms,
        actor="kim",
        waves=tuple(Wave(plans=tuple(envelope(one).decode() for one in wave), bake=bake) for wave in plans),
    )


def state(fleet: Fleet, name: str = NAME) -> GroupState:
    return fleet.ledger.groups[name]


def until(fleet: Fleet, phase: Phase, *, wave: int | None = None, seconds: int = 600) -> None:
    for _ in range(seconds):
        now = state(fleet)
        if now.phase is phase and wave in (None, now.wave):
            return
        fleet.turn()
    raise AssertionError(f"still {state(fleet)}")


def story(fleet: Fleet, *kinds: str) -> list[str]:
    """Kinds and subjects of the decisions since the installation, of these kinds."""
    return [f"{one.kind} {one.subject.partition('/')[2]}" for one in fleet.decisions if one.kind in kinds]
