"""Asks outgoing gates while they are open, and answers with signed intents (I2, H1).

An answer's id follows from the question and what was said: several notify processes, or one that is started again, answer once.
"""

import asyncio
from collections.abc import Sequence

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from tidegate.notify.faults import told
from tidegate.notify.gates import AT_ONCE_MAX, Answer, Gate, Says
from tidegate.ports import Clock, Log, SendUnknown
from tidegate.rollout.outgoing import OpenGate
from tidegate.wire.documents import Intent, Verb, digest_of
from tidegate.wire.envelope import Signs, seal

VERBS = {Says.PASS: Verb.PROMOTE, Says.FAIL: Verb.ABORT}
REASON_LENGTH_MAX = 256
GIVE_AGAIN_S = 5.0
"""So long after an answer got no confirmation it is given again."""

log = structlog.get_logger("tidegate.notify")


class Gatekeeper:
    """All gates of one installation. A question that nobody here knows is left to its plan's default."""

    def __init__(
        self, log: Log, clock: Clock, signer: Signs, gates: Sequence[Gate], *, registry: CollectorRegistry = REGISTRY
    ) -> None:
        self._log = log
        self._clock = clock
        self._signer = signer
        self._gates = {gate.name: gate for gate in gates}
        self._places = {gate.name: asyncio.Semaphore(AT_ONCE_MAX) for gate in gates}
        self._open: list[OpenGate] = []
        self._news = asyncio.Event()
        self._answers = Counter("tidegate_notify_gate_answers", "Answers of outgoing gates.", ("gate", "says"), registry=registry)
        self._queued = Gauge(
            "tidegate_notify_gate_queued",
            f"Open questions that wait for their turn: {AT_ONCE_MAX} of one gate are asked at once.",
            ("gate",),
            registry=registry,
        )

    def show(self, questions: Sequence[OpenGate]) -> None:
        """Let the keeper know which gates are open."""
        known = [one for one in questions if one.gate in self._gates]
        if known != self._open:
            self._open = known
            self._news.set()

    async def run(self) -> None:
        """Ask, for ever: each open question by itself, until it is answered or closed. Raises the first fault of our own."""
        try:
            async with asyncio.TaskGroup() as group:
                asking: dict[OpenGate, asyncio.Task[None]] = {}
                while True:
                    self._news.clear()
                    for closed in [one for one in asking if one not in self._open]:
                        asking.pop(closed).cancel()
                    for question in self._open:
                        if question not in asking:
                            asking[question] = group.create_task(self._settle(question))
                    await self._news.wait()
        except BaseExceptionGroup as faults:
            raise faults.exceptions[0] from None

    async def _settle(self, question: OpenGate) -> None:
        """Ask at once, and again ``every_s`` after each answer that decides nothing, whatever other gates do; then give it."""
        gate = self._gates[question.gate]
        while True:
            answer = await self._asked(gate, question)
            self._answers.labels(gate.name, answer.says).inc()
            log.info("gate asked", gate=gate.name, rollout=question.rollout, says=answer.says, reason=answer.reason or None)
            if answer.says is not Says.UNDECIDED:
                break
            await self._clock.sleep(gate.every_s)
        # What was said stands: it is not asked for a second time because the log was away, and its interval may be long.
        while not await self._given(question, answer):
            await self._clock.sleep(min(gate.every_s, GIVE_AGAIN_S))

    async def _asked(self, gate: Gate, question: OpenGate) -> Answer:
        """Return what a gate says. Its places are its own, and given in turn: a slow gate makes its own questions wait."""
        with self._queued.labels(gate.name).track_inprogress():
            await self._places[gate.name].acquire()
        try:
            return await gate.ask(question, self._clock.now_ms())
        except Exception as fault:  # noqa: BLE001 - a fault in one kind of gate must not end the others, nor decide anything
            log.warning("a gate broke", gate=gate.name, rollout=question.rollout, cause=told(fault))
            return Answer(Says.UNDECIDED, told(fault))
        finally:
            self._places[gate.name].release()

    async def _given(self, question: OpenGate, answer: Answer) -> bool:
        """Give an answer; return whether that is done with."""
        # What was closed, or asked anew, meanwhile is another question.
        if question not in self._open:
            return True
        try:
            await self._log.append("intents", question.subject, seal(self.intent(question, answer), self._signer))
        except SendUnknown as unknown:
            log.warning("an answer got no confirmation; it is given again", gate=question.gate, cause=str(unknown))
            return False
        return True

    def intent(self, question: OpenGate, answer: Answer) -> Intent:
        """Return an answer as it is signed."""
        return Intent(
            id=f"gate-{digest_of([question, answer.says])[:32]}",
            fleet=question.fleet,
            subject=question.subject,
            verb=VERBS[answer.says],
            generation=question.generation,
            actor=question.gate,
            reason=answer.reason[:REASON_LENGTH_MAX],
            target=question.gate,
            issued_ms=self._clock.now_ms(),
        )
