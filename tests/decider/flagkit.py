"""People who ask for flags of a simulated fleet, a judge of their ramps, and a provider that follows the topic."""

from tests.decider.kit import FLEET, OPERATOR, TRUST, World, plan
from tests.rollout.flags import DARK

from tidegate.flags.store import Flags
from tidegate.ports import Record
from tidegate.wire.codec import Malformed, encode
from tidegate.wire.documents import Intent, Order, Verb
from tidegate.wire.envelope import Refused, seal
from tidegate.wire.flagchanges import FlagChange
from tidegate.wire.flags import topic_key
from tidegate.wire.flagstamps import HEADER, order_of
from tidegate.wire.judgement import Outcome, Verdict
from tidegate.wire.nodeseconds import Context, decode
from tidegate.wire.plans import Action, Stage
from tidegate.wire.reasons import Reason


class Reader:
    """A provider: keeps the highest order of each key, ignores what nobody stands for."""

    def __init__(self) -> None:
        self.flags = Flags()
        self.orders: dict[str, Order] = {}
        self.ignored = 0

    def read(self, records: list[Record]) -> "Reader":
        for record in records:
            try:
                key = topic_key(record.key or "")
                order = order_of(key, record.value, record.headers.get(HEADER), TRUST)
            except (Malformed, Refused):
                self.ignored += 1
                continue
            if order > self.orders.get(record.key, Order()):
                self.orders[record.key] = order
                self.flags.put(key, record.value)
        return self

    def default(self, key: str) -> str | None:
        set_id, name = key.split("/")
        return self.flags.sets[set_id].flags[name].default_variant


class Place(World):
    """People who ask for flags, and the topic."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def want(self, verb: Verb, subject: str = DARK, by=OPERATOR, **fields) -> None:
        self.asked += 1
        if "generation" not in fields:
            fields["generation"] = max((one.generation for one in self.decisions() if one.subject == subject), default=0)
        intent = Intent(
            id=f"w{self.asked}",
            fleet=FLEET,
            subject=subject,
            verb=verb,
            actor="kim",
            issued_ms=self.clock.now_ms(),
            **fields,
        )
        await self.log.append("intents", subject, seal(intent, by))

    async def put(self, wanted, course=None, subject: str = DARK, **fields) -> None:
        await self.want(Verb.SET, subject, flag=FlagChange(spec=wanted, ramp=course), **fields)

    def reader(self) -> Reader:
        return Reader().read(self.log.topic("flags"))

    def keys(self) -> list[str | None]:
        return [record.key for record in self.log.topic("flags")]

    def contexts(self, subject: str = DARK) -> dict[str, Context]:
        """What the judge was told last, by service."""
        found = [decode(record.value) for record in self.log.topic("nodeseconds")]
        return {one.service: one for one in found if isinstance(one, Context) and one.subject == subject}

    async def judge(self, outcome: Outcome, subject: str = DARK) -> None:
        """The judge speaks of a subject, on the telemetry of each of its services."""
        for service, context in sorted(self.contexts(subject).items()):
            if context.placement:
                verdict = Verdict(
                    subject=subject,
                    service=service,
                    epoch=context.epoch,
                    generation=context.generation,
                    rollout=context.rollout,
                    placement=context.placement,
                    stage=context.stage,
                    outcome=outcome,
                    reason=Reason.CLEAN if outcome is Outcome.PASS else Reason.GROSS_ERRORS,
                    action=Action.ROLLBACK if outcome is Outcome.FAIL else None,
                    canary_requests=1_000,
                    last_pane_ms=self.clock.now_ms() - 1_000,
                )
                await self.log.append("verdicts", subject, encode(verdict))

    async def judged(self, seconds: int, subject: str = DARK) -> None:
        """Let time pass in which nothing speaks against a flag."""
        for _ in range(seconds):
            await self.clock.advance(1)
            await self.judge(Outcome.PASS, subject)

    async def install(self) -> None:
        """Version v1 of the shop is everywhere, and watched."""
        self.start("a")
        await self.ask(plan(stages=(Stage(set_weight=100, bake="0s", min_requests=0),), watch="1h"))
        for _ in range(8):
            await self.clock.advance(1)
            await self.follow()
