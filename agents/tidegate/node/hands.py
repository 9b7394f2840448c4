"""Carrying out: one action at a time, begun only when it is still wanted, ended early when it is not (F1, F2)."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import structlog

from tidegate.node.executor import Executor, FetchFailed, Late, Launch, Probing, StartFailed, StopFailed
from tidegate.node.memory import Memory
from tidegate.node.reading import Reading
from tidegate.ports import Clock
from tidegate.reconcile.accept import Refusal, accept, expires_ms, is_newest
from tidegate.reconcile.actions import Action, Kind, Seen, next_action, obsolete, proven_good
from tidegate.reconcile.held import Accepted, Held, identity, same
from tidegate.reconcile.ladder import bad_of, barred, is_left, known_good
from tidegate.reconcile.lease import leased
from tidegate.reconcile.status import Status, status_of
from tidegate.reconcile.target import target_of
from tidegate.wire.names import service_subject
from tidegate.wire.plans import Artifact

NEWS_S = 2.0
"""What goes forward has read everything that is so old."""

log_of_node = structlog.get_logger("node")


class Hands:
    """Turns what was read and what is seen into actions of the executors, with the memory written first."""

    def __init__(
        self, node: str, boot: str, clock: Clock, *, executors: Mapping[str, Executor], memory: Memory, reading: Reading
    ) -> None:
        self._node = node
        self._boot = boot
        self._clock = clock
        self._executors = executors
        self._memory = memory
        self._reading = reading
        self._launches = 0
        self._named: dict[str, tuple[Held | None, dict[tuple[str, str, str], Artifact]]] = {}
        """By service what is held, and the artifacts that it names."""
        self._current: Action | None = None
        self._work: asyncio.Task[None] | None = None
        self._interruptible = False
        self._refused: dict[str, str] = {}
        self._fault: BaseException | None = None
        self.actions: Counter[tuple[str, str]] = Counter()
        """How many actions of a kind ended as ``done``, ``failed`` or ``ended early``, or had to read the log again first."""
        self.changed: Callable[[], None] = lambda: None
        self.at_rest = asyncio.Event()
        """Set while the last look found nothing to do."""

    def look(self) -> None:
        """Take the news and do the next thing. Called at every change and once a second; never waits.

        Raises what an action raised that is no failure an executor may have: a fault of this program ends the agent.
        """
        if self._fault is not None:
            raise self._fault
        for service, held in self._held():
            if (good := proven_good(held, self._executors[service].running(service), self._clock.now_ms())) is not None:
                self._memory.good(service, good)
        self._take_news()
        wanted = self._next()
        if self._current is not None and self._work is not None:
            unwanted = obsolete(self._node, self._memory.held(self._current.service), self._current)
            if unwanted or (self._interruptible and _gives_way(self._current, wanted)):
                self._work.cancel()
        elif self._memory.trouble:
            self._memory.retry()
        elif wanted is not None:
            self._current = wanted
            self._work = asyncio.ensure_future(self._perform(wanted))
            self._work.add_done_callback(self._performed)
        if self._work is None:
            self.at_rest.set()
        else:
            self.at_rest.clear()

    async def rest(self) -> None:
        """End what is under way, and return when it has ended."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work])

    def seen(self, service: str) -> Seen:
        """Return what the executor sees of a service now."""
        executor = self._executors[service]
        held = self._memory.held(service)
        of, named = self._named.get(service, (None, {}))
        if of is not held:
            named = {identity(one): one for one in _named(held)}
            self._named[service] = (held, named)
        here = frozenset(name for name, one in named.items() if executor.holds(one))
        return Seen(running=executor.running(service), cached=here)

    def status(self, service: str, seen: Seen | None = None) -> Status:
        """Return the status of a service now; ``seen``: by what was seen of it."""
        current = self._current if self._current is not None and self._current.service == service else None
        return status_of(self._node, self._memory.held(service), seen or self.seen(service), current)

    def busy(self, service: str) -> bool:
        """Return whether a service is being started, swapped or restarted; fetching and trying a start change nothing."""
        current = self._current
        return current is not None and current.service == service and current.kind not in (Kind.FETCH, Kind.PROBE)

    def leave(self, service: str, version: str, why: str) -> str:
        """Go back from a version because a person on the node says so, without asking anybody; return what comes of it."""
        held = self._memory.held(service)
        if held.applied is None or held.applied.version != version:
            return f"{version} is not what was started last here; that is {held.applied.version if held.applied else 'nothing'}"
        if is_left(held, held.applied):
            return f"{version} is left already: {why}"
        back = next((one for one in _goods(held) if not same(one, held.applied) and self._executors[service].holds(one)), None)
        if back is None:
            return f"nothing that was good before {version} lies on this node; it runs on"
        if not self._memory.leave(service, why, self._clock.now_ms()):
            return f"not written down, so not done: {self._memory.trouble}"
        return f"{version} is left for {back.version}, until another rollout"

    def exited(self, service: str, how: str) -> None:
        """Count an end that nobody ordered."""
        log_of_node.warning("service ended by itself", service=service, how=how)
        self._memory.exited(service, self._clock.now_ms())
        self.changed()

    def _held(self) -> Iterator[tuple[str, Held]]:
        for service in self._executors:
            yield service, self._memory.held(service)

    def _take_news(self) -> None:
        """Accept what counts, and write it down before anything is done about it."""
        if self._reading.root and self._reading.root != self._memory.state.root:
            self._memory.trust(self._reading.root)
        for service, held in self._held():
            found = accept(self._reading.heard, service_subject(service), held, self._clock.now_ms())
            if isinstance(found, Accepted) and self._memory.accept(service, found):
                order = ".".join(map(str, (found.document.root_version, found.document.epoch, found.document.generation)))
                log_of_node.info(
                    "desired accepted", service=service, order=order, move=found.document.move, reason=found.document.reason
                )
            elif isinstance(found, Refusal):
                self._refuse(service, found)

    def _refuse(self, service: str, refusal: Refusal) -> None:
        if refusal.freeze:
            self._memory.freeze(service, refusal.sentence, self._reading.heard.epoch)
        if self._refused.get(service) != refusal.sentence:
            self._refused[service] = refusal.sentence
            log_of_node.warning("desired not accepted", service=service, reason=refusal.reason, problem=refusal.sentence)

    def _performed(self, work: "asyncio.Task[None]") -> None:
        self._work = self._current = None
        self._fault = None if work.cancelled() else work.exception()
        self.changed()

    async def _perform(self, action: Action) -> None:
        executor = self._executors[action.service]
        log = log_of_node.bind(action=action.kind, service=action.service, version=action.artifact.version)
        try:
            if action.kind is Kind.FETCH:
                with self._may_be_interrupted():
                    await executor.fetch(action.artifact, self._kept())
            elif action.kind is Kind.PROBE:
                with self._may_be_interrupted():
                    await self._probe(action)
            elif action.kind is Kind.STOP:
                if self._next() != action:
                    return
                log.info("action begins")
                await executor.stop(action.service)
            elif await self._begin(action):
                log.info("action begins", token=action.token, cohort=action.cohort)
                await executor.swap(self._launch(action))
            else:
                return
        except (FetchFailed, StartFailed, StopFailed) as error:
            log.warning("action failed", problem=str(error))
            self.actions[action.kind, "failed"] += 1
            self._memory.failed(action, error, self._clock.now_ms())
        except Late as late:
            log.warning("action ended early", problem=str(late))
            self.actions[action.kind, "ended early"] += 1
            self._memory.undone(action)
        except asyncio.CancelledError:
            log.info("action ended early")
            self.actions[action.kind, "ended early"] += 1
            self._memory.undone(action)
            raise
        else:
            log.info("action done")
            self.actions[action.kind, "done"] += 1
            self._memory.done(action)

    async def _probe(self, action: Action) -> None:
        """See that a version could be started; StartFailed, FetchFailed."""
        executor, running = self._executors[action.service], self._executors[action.service].running(action.service)
        if isinstance(executor, Probing):
            await executor.probe(self._launch(action))
        elif running is not None and same(running.artifact, action.artifact):
            found = await executor.measure(action.service)
            if found != action.artifact.sha256:
                raise StartFailed(f"{action.artifact.version} runs, and what it was started from is gone or altered")

    async def _begin(self, action: Action) -> bool:
        """Ask at the last moment whether this is still what is wanted, and write it down (F1).

        What goes forward waits until the log is read to an end captured now, again where that took so long that it is no news any
        more. What goes back, or puts back what ran, needs no network. The executor asks once more whether it is in time.
        """
        if action.retreat or action.kind is Kind.REVIVE:
            return self._next() == action and self._memory.begin(action, self._clock.now_ms())
        asked_s = await self._catch_up()
        while self._clock.monotonic_s() - asked_s > NEWS_S:
            self._too_slow(action, "reading the log", asked_s)
            asked_s = await self._catch_up()
        self._take_news()
        if self._next() != action or not self._memory.begin(action, self._clock.now_ms()):
            return False
        if self._clock.monotonic_s() - asked_s > NEWS_S:
            self._too_slow(action, "writing it down", asked_s)
            self._memory.undone(action)
            return False
        return True

    async def _catch_up(self) -> float:
        """Return when the end was captured to which the log is read now."""
        asked_s = self._clock.monotonic_s()
        with self._may_be_interrupted():
            await self._reading.catch_up()
        return asked_s

    def _too_slow(self, action: Action, what: str, asked_s: float) -> None:
        """Say why something that is wanted does not begin: it may go on for as long as the log, or the disk, is so slow."""
        self.actions[action.kind, "read again"] += 1
        log_of_node.warning(
            "action waits: what was read is no news any more, so the log is read again",
            action=action.kind,
            service=action.service,
            took_s=round(self._clock.monotonic_s() - asked_s, 1),
            most_s=NEWS_S,
            by=what,
        )

    def _launch(self, action: Action) -> Launch:
        self._launches += 1
        held, running = self._memory.held(action.service), self._executors[action.service].running(action.service)
        ran = running.artifact if running is not None else held.applied
        target = leased(target_of(held.accepted, self._node), held.accepted, self._reading.pulse)
        forward = not action.retreat and action.kind is not Kind.REVIVE
        return Launch(
            service=action.service,
            artifact=action.artifact,
            boot=f"{self._boot}-{self._launches}",
            token=action.token,
            cohort=target.cohort,
            rollout=held.accepted.document.rollout if held.accepted is not None else "",
            put_back=not barred(held, target, ran),
            before_ms=expires_ms(held.accepted.document, held.accepted.plan) if forward and held.accepted is not None else 0,
        )

    def _next(self) -> Action | None:
        seen = {service: self.seen(service) for service in self._executors}
        services, heard, pulse = self._memory.state.services, self._reading.heard, self._reading.pulse
        outdated = {service for service, held in self._held() if not is_newest(heard, service_subject(service), held)}
        return next_action(self._node, services, seen, self._clock.now_ms(), pulse, outdated=outdated)

    def _kept(self) -> list[Artifact]:
        """Return what is never thrown away: what runs, what it came from, and what the plans name."""
        return [artifact for _, held in self._held() for artifact in _named(held)]

    @contextlib.contextmanager
    def _may_be_interrupted(self) -> Iterator[None]:
        self._interruptible = True
        try:
            yield
        finally:
            self._interruptible = False


def _gives_way(current: Action, wanted: Action | None) -> bool:
    """Return whether what may be interrupted is. One download waits for another service's, which may try in vain again and again;
    that of a retreat does not.
    """
    if wanted is None or wanted.service == current.service or not wanted.kind is current.kind is Kind.FETCH:
        return wanted != current
    return wanted.retreat and not current.retreat


def _goods(held: Held) -> list[Artifact]:
    return [one for one in (known_good(held), *held.earlier) if one is not None and bad_of(held, one) is None]


def _named(held: Held) -> list[Artifact]:
    plan = held.accepted.plan if held.accepted is not None else None
    rollback = plan.rollback.artifact if plan is not None and plan.rollback is not None else None
    begun = held.undertaking.artifact if held.undertaking is not None else None
    named = (held.applied, held.good, *held.earlier, begun, rollback, plan.artifact if plan is not None else None)
    return [one for one in named if one is not None]
