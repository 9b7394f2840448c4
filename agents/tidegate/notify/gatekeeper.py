"""Asks outgoing gates while they are open, and answers with signed intents (I2, H1).

An answer's id follows from the question and what was said: several notify processes, or one that is started again, answer once.
"""

import asyncio
from collections.abc import Sequence

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Counter

from tidegate.notify.gates import Answer, Gate, Says
from tidegate.ports import Clock, Log, SendUnknown
from tidegate.rollout.outgoing import OpenGate
from tidegate.wire.documents import Intent, Verb, digest_of
from tidegate.wire.envelope import Signs, seal

VERBS = {Says.PASS: Verb.PROMOTE, Says.FAIL: Verb.ABORT}
REASON_LENGTH_MAX = 256

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
        self._open: list[OpenGate] = []
        self._answered: set[OpenGate] = set()
        self._news = asyncio.Event()
        self._answers = Counter("tidegate_notify_gate_answers", "Answers of outgoing gates.", ("gate", "says"), registry=registry)

    def show(self, questions: Sequence[OpenGate]) -> None:
        """Let the keeper know which gates are open."""
        known = [one for one in questions if one.gate in self._gates]
        if known != self._open:
            self._open = known
            self._answered &= {*known}
            self._news.set()

    async def run(self) -> None:
        """Ask, for ever: at once what is new, and again what is undecided."""
        while True:
            self._news.clear()
            waiting = [one for one in self._open if one not in self._answered]
            await asyncio.gather(*(self._ask(one) for one in waiting))
            await self._wait(min((self._gates[one.gate].every_s for one in waiting), default=None))

    async def _ask(self, question: OpenGate) -> None:
        answer = await self._gates[question.gate].ask(question, self._clock.now_ms())
        self._answers.labels(question.gate, answer.says).inc()
        log.info("gate asked", gate=question.gate, rollout=question.rollout, says=answer.says, reason=answer.reason or None)
        # What was closed, or asked anew, meanwhile is another question.
        if answer.says is Says.UNDECIDED or question not in self._open:
            return
        try:
            await self._log.append("intents", question.subject, seal(self.intent(question, answer), self._signer))
        except SendUnknown as unknown:
            log.warning("an answer got no confirmation; it is given again", gate=question.gate, cause=str(unknown))
            return
        self._answered.add(question)

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

    async def _wait(self, every_s: float | None) -> None:
        waits: list[asyncio.Future[object]] = [asyncio.ensure_future(self._news.wait())]
        if every_s is not None:
            waits.append(asyncio.ensure_future(self._clock.sleep(every_s)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
