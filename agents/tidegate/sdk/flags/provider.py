"""The OpenFeature providers: one with a thread of its own, one for asyncio. Both only look at what their session keeps."""

import asyncio
import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import ErrorCode, ProviderFatalError, ProviderNotReadyError
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.hook import Hook
from openfeature.provider import AbstractProvider, Metadata
from openfeature.track import TrackingEventDetails

from tidegate.flagfeed import News, Status
from tidegate.flags.evaluate import Asked, evaluate
from tidegate.flags.store import FlagSet
from tidegate.ports import Log
from tidegate.runtime.problem import Problem
from tidegate.runtime.trust import read_trust
from tidegate.sdk.flags.exposures import EventStats, ExposureHook
from tidegate.sdk.flags.session import Session
from tidegate.sdk.flags.settings import FlagSettings
from tidegate.wire.flags import ErrorCode as Code
from tidegate.wire.flags import EvaluationReason, Kind

SAY_AFTER_S = 0.25
"""OpenFeature says READY when ``initialize`` returns; that it is stale can be said only after that."""
CLOSE_WITHIN_S = 15.0

_CODES: dict[Code | None, ErrorCode | None] = {None: None} | {code: ErrorCode(code.value) for code in Code}
_REASONS = {reason: Reason(reason.value) for reason in EvaluationReason}
_NAME = Metadata(name="tidegate")

logger = logging.getLogger("tidegate.sdk")


class _Provider(AbstractProvider):
    """What both forms share: evaluation, events, what is told of their state. ``log``: what is followed instead of the broker
    that the settings name; it stays the caller's.
    """

    def __init__(self, settings: FlagSettings | None = None, log: Log | None = None) -> None:
        super().__init__()
        self.settings = settings or FlagSettings.of()
        self._log = log
        self._session: Session | None = None
        self._set: FlagSet | None = None
        """What is evaluated; None: nothing was read yet. Written by the session's loop alone."""
        self._hooks: list[Hook] = []
        self._said: Status | None = None
        """What OpenFeature knows of the status; None until ``initialize`` has returned."""
        self._unsaid: dict[str, None] = {}

    # what OpenFeature asks

    def get_metadata(self) -> Metadata:
        """Return the provider's name."""
        return _NAME

    def get_provider_hooks(self) -> list[Hook]:
        """Return the hook for exposures while a flag is watched; none costs nothing."""
        return self._hooks

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,  # noqa: FBT001 - theirs
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        """Evaluate, in process."""
        return self._resolve(Kind.BOOLEAN, flag_key, default_value, evaluation_context)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Evaluate, in process."""
        return self._resolve(Kind.STRING, flag_key, default_value, evaluation_context)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Evaluate, in process."""
        return self._resolve(Kind.INTEGER, flag_key, default_value, evaluation_context)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Evaluate, in process."""
        return self._resolve(Kind.FLOAT, flag_key, default_value, evaluation_context)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """Evaluate, in process."""
        return self._resolve(Kind.OBJECT, flag_key, default_value, evaluation_context)

    def track(
        self,
        tracking_event_name: str,
        evaluation_context: EvaluationContext | None = None,
        tracking_event_details: TrackingEventDetails | None = None,
    ) -> None:
        """Note what a user did, for the experiments of this set; without a value it counts 1. Never raises."""
        session = self._session
        if session is not None and evaluation_context is not None:
            value = None if tracking_event_details is None else tracking_event_details.value
            session.events.track(tracking_event_name, evaluation_context.targeting_key, value)

    # what a service may ask

    @property
    def status(self) -> Status:
        """Return what may be said of the flags now."""
        follower = None if self._session is None else self._session.follower
        return Status.NOT_READY if follower is None else follower.status

    @property
    def age_s(self) -> float | None:
        """Seconds since the flags were known to be all there are; None: nothing was read yet."""
        follower = None if self._session is None else self._session.follower
        return None if follower is None else follower.age_s

    def stats(self) -> EventStats:
        """Return how many exposures and outcomes were made, sent and dropped."""
        return EventStats(0, 0, 0, 0) if self._session is None else self._session.events.stats()

    # inside

    def _resolve(self, kind: Kind, key: str, default: Any, context: EvaluationContext | None) -> FlagResolutionDetails[Any]:
        flags = self._set
        if flags is None:
            message = "no flags were read yet, and there is no snapshot"
            return FlagResolutionDetails(default, ErrorCode.PROVIDER_NOT_READY, message, Reason.ERROR)
        attributes: Mapping[str, Any] = {} if context is None else {**context.attributes, "targetingKey": context.targeting_key}
        found = evaluate(flags, key, Asked(context=attributes, now_s=int(time.time()), kind=kind, default=default))
        return FlagResolutionDetails(
            found.value,
            _CODES[found.error_code],
            found.error_message,
            _REASONS[found.reason],
            found.variant,
            found.metadata,
        )

    def _open(self) -> Session:
        try:
            trust = read_trust(self.settings.root)
        except Problem as problem:
            raise ProviderFatalError(str(problem)) from problem
        session = Session(self.settings, trust, self._hear)
        self._session = session
        return session

    def _closed(self) -> None:
        self._session, self._set, self._said = None, None, None
        self._hooks, self._unsaid = [], {}

    def _became_ready(self) -> None:
        """Wake whoever waits in ``initialize``."""
        raise AssertionError("a form of the provider says how")

    def _hear(self, news: News | Exception) -> None:
        session = self._session
        if session is None:
            return
        if isinstance(news, Exception):
            if self._said is not None:
                self._said = Status.NOT_READY  # so that it is told when all is well again
                self.emit_provider_error(ProviderEventDetails(message=str(news), error_code=ErrorCode.GENERAL))
            return
        if news.status is not Status.NOT_READY:
            self._set = session.found
        if news.changed:
            self._hooks = [ExposureHook(session.events)] if session.events.watched else []
            names = [key.name for key in news.changed if key.is_flag]
            shared = len(names) < len(news.changed)  # what all rules may refer to
            self._unsaid.update(dict.fromkeys(session.found.flags if shared else names))
        if news.status is Status.READY:
            self._became_ready()
        self._say(news.status)

    def _initialized(self, later: Callable[[float, Callable[[], None]], object]) -> None:
        """Return, or raise, as the status asks for; say the rest when OpenFeature has taken note."""
        status = self.status
        told = Status.NOT_READY if status is Status.NOT_READY else Status.READY
        self._said = None
        self._unsaid = {}  # whoever evaluates from now on has seen it
        later(SAY_AFTER_S, functools.partial(self._begin_to_say, told))
        if status is Status.NOT_READY:
            raise ProviderNotReadyError(
                f"no broker answered at {self.settings.bootstrap} within {self.settings.wait_s:g} s and there is no snapshot; "
                "callers get their defaults until one does"
            )

    def _begin_to_say(self, told: Status) -> None:
        self._said = told
        self._say(self.status)

    def _say(self, status: Status) -> None:
        if self._said is None or self._session is None:
            return
        if self._unsaid:
            changed, self._unsaid = list(self._unsaid), {}
            self.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=changed))
        if status is self._said:
            return
        self._said = status
        age_s = round(self.age_s or 0.0, 1)
        if status is Status.STALE:
            message = f"flags are the last known good, {age_s} s old: what came after is not read"
            self.emit_provider_stale(ProviderEventDetails(message=message, metadata={"age_s": age_s}))
        elif status is Status.READY:
            self.emit_provider_ready(ProviderEventDetails(metadata={"age_s": age_s}))


class TidegateProvider(_Provider):
    """For any service. Follows the topic in a daemon thread of its own; make it after a fork, not before.

    ``initialize`` returns when the topic was read to the end that it had at the start, or, where no broker answers within
    ``wait_s``, with the snapshot: then STALE follows. It raises ProviderNotReadyError where there is neither, and goes on trying;
    ProviderFatalError where the key document cannot be trusted. It may be called again, also after ``shutdown``.
    """

    def __init__(self, settings: FlagSettings | None = None, log: Log | None = None) -> None:
        super().__init__(settings, log)
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None

    def initialize(self, evaluation_context: EvaluationContext) -> None:  # noqa: ARG002 - theirs
        """Begin to follow; wait for the flags."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._start()
            self._ready.wait(self.settings.wait_s)
            self._initialized(lambda after_s, call: self._loop.call_soon_threadsafe(self._loop.call_later, after_s, call))

    def shutdown(self) -> None:
        """End the thread, sending what waits for at most 2 s. Callers get their defaults from then on."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is None:
                return
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._task.cancel)
            thread.join(CLOSE_WITHIN_S)
            self._closed()

    def _start(self) -> None:
        session, started = self._open(), threading.Event()
        self._ready.clear()

        async def follow() -> None:
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.ensure_future(session.run(self._log))
            started.set()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

        def work() -> None:
            try:
                asyncio.run(follow())
            except Exception:
                logger.exception("flags stopped; they stay as they are")

        self._thread = threading.Thread(target=work, name="tidegate-flags", daemon=True)
        self._thread.start()
        started.wait()

    def _became_ready(self) -> None:
        self._ready.set()


class AsyncTidegateProvider(_Provider):
    """For a service on asyncio: ``async with AsyncTidegateProvider(settings) as provider: api.set_provider(provider)``.

    Follows on the loop of ``start``, which waits and raises as ``initialize`` of ``TidegateProvider`` does.
    """

    _task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to follow; wait for the flags. A second call waits again."""
        if self._task is None:
            self._loop, self._ready = asyncio.get_running_loop(), asyncio.Event()
            self._task = asyncio.create_task(self._open().run(self._log), name="tidegate-flags")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.wait_s):
                await self._ready.wait()
        self._initialized(self._loop.call_later)

    async def close(self) -> None:
        """End, sending what waits for at most 2 s. Callers get their defaults from then on."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._closed()

    def initialize(self, evaluation_context: EvaluationContext) -> None:  # noqa: ARG002 - theirs
        """Return at once: ``start`` has waited already. ProviderNotReadyError where nothing was read."""
        if self._task is None:
            raise ProviderNotReadyError("await start() of the provider before it is set")
        self._initialized(lambda after_s, call: self._loop.call_soon_threadsafe(self._loop.call_later, after_s, call))

    def shutdown(self) -> None:
        """End soon; ``close`` also waits until it has."""
        task = self._task
        if task is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(task.cancel)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    def _became_ready(self) -> None:
        self._ready.set()
