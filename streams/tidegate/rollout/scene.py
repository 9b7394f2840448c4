"""One subject's rollout as the rules look at it: the ledger's state, its plan and roster, the view, and the time."""

from functools import cached_property

from msgspec import Struct

from tidegate.rollout.ledger import Ledger
from tidegate.rollout.stages import Sizes, control_token, sizes
from tidegate.rollout.view import View, runs
from tidegate.wire.decisions import SubjectState
from tidegate.wire.documents import Roster
from tidegate.wire.names import duration_ms, share_of
from tidegate.wire.plans import Artifact, ControlMode, Plan, Stage
from tidegate.wire.telemetry import ServiceState


class Standing(Struct, frozen=True):
    """What a stage waits for on its nodes."""

    fetching: tuple[str, ...]
    """Reachable nodes of the stage that do not hold the artifact yet."""
    unready: tuple[str, ...]
    """Reachable released nodes that do not report what they should run."""
    unreachable: tuple[str, ...]
    tolerated: int
    """So many unreachable ones are left out (B5)."""
    deserted: bool
    """Every node of the stage was retired."""

    @property
    def lost(self) -> bool:
        """Whether more nodes are away than may be left out."""
        return len(self.unreachable) > self.tolerated or self.deserted

    @property
    def clear(self) -> bool:
        """Whether the stage waits for none of its nodes."""
        return not self.fetching and not self.unready and not self.lost


class Scene(Struct, frozen=True, dict=True):
    """All that a rule may look at."""

    state: SubjectState
    plan: Plan
    roster: Roster
    view: View
    ledger: Ledger
    now_ms: int

    @property
    def cordoned(self) -> tuple[str, ...]:
        """Nodes that no rollout waits for."""
        return self.ledger.cordoned

    @property
    def stage(self) -> Stage:
        """The plan's stage under way."""
        return self.plan.stages[self.state.stage]

    @property
    def last_stage(self) -> bool:
        """Whether no stage follows."""
        return self.state.stage == len(self.plan.stages) - 1

    @cached_property
    def sizes(self) -> Sizes:
        """Sizes of the stage when it is complete."""
        return sizes(self.plan, self.state.stage, len(self.roster.nodes), self.roster.waves)

    @property
    def members(self) -> tuple[str, ...]:
        """Nodes that have the new version when the stage is complete."""
        return self.roster.nodes[: self.sizes.canary]

    @property
    def canaries(self) -> tuple[str, ...]:
        """Nodes that have been given the new version."""
        return self.roster.nodes[: self.state.released]

    @property
    def controls(self) -> tuple[str, ...]:
        """Controls of this stage that have been released."""
        first = self.sizes.canary
        return self.roster.nodes[first : first + self.state.controls]

    @property
    def at_once(self) -> int:
        """So many nodes may change at once (B4)."""
        return share_of(self.stage.max_unavailable or self.plan.max_unavailable, len(self.roster.nodes))

    @property
    def placed(self) -> bool:
        """Whether the judge has a placement: from the first release on, so that the baseline is learned until then (C3)."""
        return bool(self.state.placement) and bool(self.state.released or self.state.reached)

    @property
    def first_install(self) -> bool:
        """Whether there is nothing to go back to (B7)."""
        return self.state.settled is None

    @property
    def expired(self) -> bool:
        """Whether no advance of the plan is applied any more."""
        return self.now_ms >= self.plan.expires_ms

    @property
    def deadline_ms(self) -> int:
        """The plan's progress deadline (B5)."""
        return duration_ms(self.plan.progress_deadline)

    @cached_property
    def standing(self) -> Standing:
        """How the nodes of the stage stand. Unreachable ones leave the batch, up to 10 % of the stage (B5).

        Retired ones are no part of it: neither waited for nor tolerated.
        """
        members = self.enrolled(self.members)
        unready = [
            node
            for node in self.canaries
            if self.reachable(node) and not self.canary_ready(node) and not (node in self.cordoned and self.failed(node))
        ]
        # Where the old version does not start any more, nobody waits for it: its successor may be what mends that.
        unready += [
            node for node in self.controls if self.reachable(node) and not self.control_ready(node) and not self._down(node)
        ]
        coming = () if self.state.prefetch_done else self.members[self.state.released :]
        return Standing(
            fetching=tuple(node for node in coming if self.reachable(node) and not self._holds_artifact(node)),
            unready=tuple(unready),
            unreachable=tuple(node for node in members if not self.reachable(node)),
            tolerated=len(members) // 10,
            deserted=not members,
        )

    def enrolled(self, nodes: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of the nodes that belong to the fleet now."""
        return tuple(node for node in nodes if node in self.view.enrolled)

    def reachable(self, node: str) -> bool:
        """Return whether a node has reported within 90 s (B5)."""
        return self.view.reachable(node, self.now_ms)

    def canary_ready(self, node: str) -> bool:
        """Return whether a node reports the new version, measured and ready, under a document of this attempt (B4)."""
        return self.back_on(node, self.plan.artifact)

    def control_ready(self, node: str) -> bool:
        """Return whether a control was restarted for this stage and is ready (B3); where none restart, it is."""
        report = self.view.service(node, self.plan.service)
        if self.plan.control is not ControlMode.RESTART or self.state.settled is None:
            return True
        return (
            report is not None
            and runs(report, self.state.settled)
            and report.token == control_token(self.state.rollout, self.state.stage)
        )

    def back_on(self, node: str, artifact: Artifact) -> bool:
        """Return whether a node runs an artifact and has accepted a document of this attempt, or of its retreat."""
        report = self.view.service(node, self.plan.service)
        return report is not None and runs(report, artifact) and report.order.generation >= self.state.since_generation

    def measured_new(self, node: str) -> bool:
        """Return whether what a node measured last is the new version, ready or not."""
        report = self.view.service(node, self.plan.service)
        return report is not None and report.digest == self.plan.artifact.sha256

    def failed(self, node: str) -> bool:
        """Return whether a node says that the new version does not start or stay up on it, in this attempt."""
        return self.stays_down(node, self.plan.artifact)

    def _down(self, node: str) -> bool:
        return self.state.settled is not None and self.stays_down(node, self.state.settled)

    def stays_down(self, node: str, artifact: Artifact) -> bool:
        """Return whether a node has tried an artifact under this document and says that it does not start or stay up."""
        report = self.view.service(node, self.plan.service)
        return (
            report is not None
            and report.state is ServiceState.FAILED
            and report.version == artifact.version
            and report.order.generation >= self.state.since_generation
        )

    def _holds_artifact(self, node: str) -> bool:
        report = self.view.service(node, self.plan.service)
        return report is not None and (self.plan.artifact.version in report.prefetched or runs(report, self.plan.artifact))


def scene_of(ledger: Ledger, view: View, subject: str, now_ms: int) -> Scene | None:
    """Return the scene of a subject, or None where no plan of it ever started."""
    state = ledger.subjects.get(subject)
    accepted = ledger.plans.get(state.plan_digest) if state is not None else None
    roster = ledger.rosters.get(subject)
    if state is None or accepted is None or roster is None:
        return None
    return Scene(state, accepted.plan, roster, view, ledger, now_ms)
