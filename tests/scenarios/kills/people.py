"""Who asks and who judges: an operator with plans and intents, and a judge that says what a round wants said.

The judge's own worth is proven elsewhere (``tests/sim``, ``tests/prove/judge_kills``); here it only has to say pass and fail of
what is desired, in time, as the writer of ``verdicts``.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable

from tests.scenarios.kills.faults import Ends, Round
from tests.scenarios.kills.installation import FLEET, SERVICE, Installation

from tidegate.broker import KafkaLog
from tidegate.ports import Record, SendUnknown
from tidegate.sim.protocol.authors import content
from tidegate.wire.codec import decode, encode
from tidegate.wire.decisions import Decision, DecisionKind, SubjectState
from tidegate.wire.documents import Desired, Intent, KeyRole, Phase, Verb
from tidegate.wire.envelope import seal
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.names import service_subject
from tidegate.wire.plans import Action, Artifact, Plan, Rollback, Stage
from tidegate.wire.reasons import Reason

SUBJECT = service_subject(SERVICE)
JUDGED_EVERY_S = 0.4
LASTS_MS = 3_600_000
PATIENT_S = 180.0
"""What does not come in this time does not come: on a starved machine a broker alone takes a minute to come back."""


class Late(Exception):
    """Something that the log should have shown did not come. Says what, and the last decisions."""


class Sight:
    """What the log says, as a person sees it who looks without any door: the last state, the leader, what is desired."""

    def __init__(self) -> None:
        self.state = SubjectState(subject=SUBJECT)
        self.desired: Desired | None = None
        self.epoch = 0
        self.life = ""
        self.told: list[str] = []
        self.reported: set[str] = set()
        self._news = asyncio.Event()

    async def follow(self, log: KafkaLog) -> None:
        """Read for ever."""
        reader = await log.reader(["decisions", "desired", "reports"])
        try:
            while True:
                for record in await reader.poll(0.2):
                    self._see(record)
                self._news.set()
        finally:
            await reader.close()

    def _see(self, record: Record) -> None:
        if record.topic == "desired" and record.key == SUBJECT:
            document = content(record.value or b"", Desired)
            if self.desired is None or self.desired.order < document.order:
                self.desired = document
        elif record.topic == "reports":
            self.reported.add(record.key or "")
        elif record.topic == "decisions":
            decision = decode(record.value or b"", Decision)
            self.told.append(f"{decision.epoch} {decision.kind} {decision.reason}: {decision.message}")
            if decision.epoch < self.epoch:
                return
            if decision.kind is DecisionKind.TAKEOVER:
                self.epoch, self.life = decision.epoch, decision.message.split()[0]
            if decision.state is not None:
                self.state = decision.state

    async def until(self, condition: Callable[[], bool], within_s: float, what: str) -> None:
        """Wait for what the log will show; looked at with all news and five times a second. Late."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise Late(f"{what}: not within {within_s:.0f} s\n" + "\n".join(self.told[-20:])) from None


class People:
    """Operator and judge of one installation. ``played`` is the round at hand."""

    def __init__(self, installation: Installation, sight: Sight) -> None:
        self._installation = installation
        self._sight = sight
        self._operator = installation.home.signer(KeyRole.OPERATOR)
        self._api = installation.home.signer(KeyRole.API)
        self._settled: Artifact | None = None
        self._fails_from: int | None = None
        """Stage from which on the version at hand is bad."""
        self._patience_s = 0.0
        self._released_s: dict[str, float] = {}
        """Placement to when it was first seen to be given to somebody."""

    async def start(self, version: str, played: Round | None) -> None:
        """Sign a plan; return when it is accepted. Without a round it is the first install."""
        artifact = self._installation.artifact(version)
        stages = (Stage(set_nodes=1, bake="1s", min_requests=0), Stage(set_weight=100, bake="1s", min_requests=0))
        self._settled = self._sight.state.settled
        self._patience_s = played.patience_s if played else 0.0
        self._fails_from = {Ends.BAD_FIRST: 0, Ends.BAD_LAST: 1}.get(played.ends) if played else None
        plan = Plan(
            id=f"shop-{version}",
            fleet=FLEET,
            service=SERVICE,
            artifact=artifact,
            rollback=Rollback(artifact=self._settled) if self._settled is not None else None,
            stages=stages if played else stages[-1:],
            max_unavailable="50%",
            watch="1s",
            issued_ms=_now_ms(),
            expires_ms=_now_ms() + LASTS_MS,
            actor="operator",
        )
        await self._say("plans", seal(plan, self._operator))
        await self._sight.until(lambda: self._sight.state.rollout.startswith(f"{plan.id}."), PATIENT_S, f"the start of {plan.id}")

    async def ask(self, played: Round) -> None:
        """Ask for what a round wants asked for, once its version has been given to somebody."""
        sight = self._sight
        if played.ends not in (Ends.ABORTED, Ends.RESUMED):
            return
        await sight.until(lambda: sight.state.released > 0 or sight.state.phase is Phase.DONE, PATIENT_S, "a first release")
        await asyncio.sleep(played.patience_s)
        if played.ends is Ends.ABORTED:
            await self._intend(Verb.ABORT)
            return
        await self._intend(Verb.PAUSE)
        await sight.until(lambda: sight.state.phase is not Phase.RUNNING, PATIENT_S, "the pause")
        await asyncio.sleep(1)
        while sight.state.phase is Phase.PAUSED:
            await self._intend(Verb.RESUME)
            with contextlib.suppress(Late):
                await sight.until(lambda: sight.state.phase is not Phase.PAUSED, 5, "the resumption")

    async def judge(self) -> None:
        """Say for ever what is to be said of what is desired."""
        while True:
            await asyncio.sleep(JUDGED_EVERY_S)
            desired = self._sight.desired
            if desired is None or not desired.released or desired.phase not in (Phase.RUNNING, Phase.WATCHING, Phase.PAUSED):
                continue
            self._released_s.setdefault(desired.placement, time.monotonic())
            if self._bad(desired) and time.monotonic() < self._released_s[desired.placement] + self._patience_s:
                continue
            with contextlib.suppress(SendUnknown):
                await self._installation.log.append("verdicts", SUBJECT, encode(self._verdict(desired)))

    def _bad(self, desired: Desired) -> bool:
        return self._fails_from is not None and desired.stage >= self._fails_from

    def _verdict(self, desired: Desired) -> Verdict:
        bad = self._bad(desired)
        return Verdict(
            subject=SUBJECT,
            service=SERVICE,
            epoch=desired.epoch,
            generation=desired.generation,
            rollout=desired.rollout,
            placement=desired.placement,
            stage=desired.stage,
            outcome=Outcome.FAIL if bad else Outcome.PASS,
            reason=Reason.GROSS_ERRORS if bad else Reason.CLEAN,
            action=Action.ROLLBACK if bad else None,
            canary_requests=1_000,
            last_pane_ms=_now_ms(),
            clock_ms=_now_ms(),
        )

    async def _intend(self, verb: Verb) -> None:
        intent = Intent(
            id=f"{verb}-{secrets.token_hex(4)}",
            fleet=FLEET,
            subject=SUBJECT,
            verb=verb,
            generation=self._sight.state.generation,
            actor="somebody",
            issued_ms=_now_ms(),
        )
        await self._say("intents", seal(intent, self._api))

    async def _say(self, topic: str, value: bytes) -> None:
        """Say it until the log has taken it: without an answer the same again."""
        while True:
            try:
                await self._installation.log.append(topic, SUBJECT, value)
            except SendUnknown:
                continue
            return


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
