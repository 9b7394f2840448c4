"""The demo from beginning to end: install, three releases or a flag, what each did, how long each leg took.

It does what an operator would: every release is a plan file and the command ``tidegate rollout start``, the flag a file
and ``tidegate flag set``. Everything it prints it has read from the
log or seen as a client.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from tidegate.demo.checkout import FLAG, STORY, Sightings, write_flag
from tidegate.demo.fleet import Fleet
from tidegate.demo.load import Load
from tidegate.demo.narrator import Narrator
from tidegate.demo.releases import SERVICE, Fault, Release, write_artifact, write_plan
from tidegate.demo.report import DemoReport, FlagResult, Legs, ReleaseResult, Requests
from tidegate.demo.watch import TOPICS, Watch
from tidegate.ports import LogReader
from tidegate.wire.decisions import Decision, Result, SubjectState
from tidegate.wire.documents import Phase
from tidegate.wire.flagstates import FlagState, RampResult
from tidegate.wire.names import service_subject
from tidegate.wire.telemetry import ServiceState

RATE_PER_SERVER = 100.0
HEALTHY_S = 8.0
INSTALL_WITHIN_S = 90.0
RELEASE_WITHIN_S = 120.0
RECOVERY_WITHIN_S = 30.0
IN_BAND_ERROR_RATIO = 0.01
IN_BAND_P95_FACTOR = 1.4
"""Of the p95 before the release; one pane of one cohort of 240 requests has a p95 that wanders by some 10 %."""


class DemoFailed(Exception):
    """The demo could not go on; the text says why and where to look."""


class Options(Struct, frozen=True, kw_only=True):
    """What can be asked of the demo."""

    folder: Path
    servers: int = 12
    repeat: int = 1
    faults: tuple[Fault, ...] = tuple(Fault)
    """Of the releases to play, one after another."""
    flag: bool = False


class Story:
    """One run. ``run`` returns the report; the fleet is gone when it returns, raises, or is cancelled."""

    def __init__(self, options: Options, narrator: Narrator) -> None:
        self._options = options
        self._say = narrator
        self._fleet = Fleet(options.folder, options.servers, narrator.note, flagged=options.flag)
        self._watch = Watch(service_subject(SERVICE), SERVICE)
        self._news: list[Decision] = []
        self._began = time.monotonic()
        self._following = True

    async def run(self) -> DemoReport:
        """Play the whole demo. DemoFailed where a step does not come to its end in time."""
        results: list[ReleaseResult] = []
        flags: list[FlagResult] = []
        load: Load | None = None
        try:
            await self._fleet.start()
            reader = await self._fleet.log.reader(TOPICS)
            follower = asyncio.create_task(self._follow(reader))
            try:
                running = await self._install()
                load = Load(self._fleet.addresses, RATE_PER_SERVER)
                load.start()
                await self._until(self._healthy, HEALTHY_S + 20, "healthy traffic on all servers")
                for release in self._releases():
                    results.append(await self._release(release, running, load))
                    if results[-1].outcome == "promoted":
                        running = release
                for number in range(self._options.repeat if self._options.flag else 0):
                    flags += [await self._flag(f"checkout-{number + 1}", load)]
            finally:
                self._following = False
                await follower
                await reader.close()
            await load.stop()
            telemetry = await self._fleet.settle()
        finally:
            if load is not None:
                await load.stop()
            await self._fleet.stop()
        return DemoReport(
            broker=self._fleet.broker_kind,
            telemetry=telemetry,
            releases=tuple(results),
            flags=tuple(flags),
            seconds=round(time.monotonic() - self._began, 1),
        )

    def _releases(self) -> list[Release]:
        return [Release(f"v{number}", fault) for number, fault in enumerate(self._options.faults * self._options.repeat, start=2)]

    async def _follow(self, reader: LogReader) -> None:
        while self._following:
            for decision in self._watch.see(await reader.poll(0.2)):
                self._news.append(decision)
                self._say.decision(decision)

    async def _until(self, condition: Callable[[], bool], within_s: float, what: str) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                raise DemoFailed(f"{what}: not within {within_s:.0f} s; see {self._fleet.logs}")
            await asyncio.sleep(0.05)

    async def _start(self, release: Release, *, first: bool = False) -> None:
        artifact = write_artifact(self._options.folder / "artifacts", release)
        plan = write_plan(self._options.folder / "plans", release, artifact, first=first)
        self._news.clear()
        await self._fleet.command("rollout", "start", str(plan))

    async def _install(self) -> Release:
        first = Release("v1", Fault.NONE)
        self._say.heading(f"first install: {SERVICE} v1 on {self._options.servers} servers")
        await self._until(
            lambda: len(self._watch.running) == self._options.servers, INSTALL_WITHIN_S, "reports of all node agents"
        )
        await self._start(first, first=True)
        await self._until(lambda: self._ended() is Result.PROMOTED and self._all_run("v1"), INSTALL_WITHIN_S, "the first install")
        return first

    async def _release(self, release: Release, running: Release, load: Load) -> ReleaseResult:
        self._say.heading(f"release {release.version}: {release.story}")
        p95_ms = max(pane.p95_ms for pane in list(self._watch.panes.values())[-5:])
        sent, failed = load.sent, load.failed
        began = time.monotonic()
        began_ms = time.time_ns() // 1_000_000
        await self._start(release)
        await self._until(lambda: self._ended() is not None, RELEASE_WITHIN_S, f"the end of {release.version}")
        outcome = self._ended()
        legs = Legs()
        if outcome is Result.ROLLED_BACK:
            await self._until(
                lambda: self._recovered_ms(running, began_ms, p95_ms) is not None, RECOVERY_WITHIN_S, "KPIs back in band"
            )
            legs = self._legs(release, running, load, began_ms, p95_ms)
        else:
            await self._until(self._healthy, RECOVERY_WITHIN_S, "healthy traffic after the release")
        result = ReleaseResult(
            version=release.version,
            fault=release.fault,
            expected=release.expected,
            outcome=str(outcome),
            seconds=round(time.monotonic() - began, 1),
            legs=legs,
            requests=Requests(sent=load.sent - sent, failed=load.failed - failed),
        )
        self._say.result(result, load.failures)
        return result

    async def _flag(self, name: str, load: Load) -> FlagResult:
        self._say.heading(f"flag {FLAG}: {STORY}")
        sent, failed = load.sent, load.failed
        began = time.monotonic()
        seen = Sightings(self._options.servers)
        load.heard = seen.heard
        self._news.clear()
        path = write_flag(self._options.folder / "flags", name)
        await self._fleet.command("flag", "set", FLAG, "-f", str(path), "--reason", "the express checkout for everyone")
        await self._until(lambda: self._ramped() is not None, RELEASE_WITHIN_S, f"the end of the ramp of {FLAG}")
        ended = self._ramped()
        legs = Legs()
        if ended is not None and ended.result is RampResult.SWITCHED_OFF:
            await self._until(lambda: seen.off_s is not None, RECOVERY_WITHIN_S, "the safe variant on all servers")
            legs = self._flag_legs(seen, ended)
        load.heard = None
        result = FlagResult(
            flag=FLAG,
            fault="variant",
            expected=str(RampResult.SWITCHED_OFF),
            outcome=str(ended.result) if ended is not None else "",
            seconds=round(time.monotonic() - began, 1),
            legs=legs,
            requests=Requests(sent=load.sent - sent, failed=load.failed - failed),
            answers=seen.answers,
            shown=seen.shown,
        )
        self._say.flag(result, load.failures)
        return result

    def _flag_legs(self, seen: Sightings, ended: FlagState) -> Legs:
        bad_s, off_s = seen.first_bad_s, seen.off_s
        if bad_s is None or off_s is None:
            return Legs()
        verdict_ms, command_ms = self._watch.verdict_ms(ended.rollout), self._watch.safe_ms(FLAG, ended.decided_ms)
        return Legs(
            first_bad_to_verdict_s=_since(bad_s, verdict_ms),
            first_bad_to_command_s=_since(bad_s, command_ms),
            first_bad_to_all_back_s=round(off_s - bad_s, 3),
        )

    def _ramped(self) -> FlagState | None:
        """Return the flag as its ramp has left it; None while it is under way."""
        states = [decision.flag for decision in self._news if decision.flag is not None]
        return states[-1] if states and states[-1].phase is Phase.DONE else None

    def _legs(self, release: Release, running: Release, load: Load, began_ms: int, p95_ms: float) -> Legs:
        seen = load.versions.get(release.version)
        if seen is None:
            return Legs()
        bad_s = seen.first_error_s if release.fault is Fault.ERRORS else seen.first_s
        command = self._watch.retreat(began_ms)
        verdict_ms = self._watch.verdict_ms(self._state().rollout)

        return Legs(
            first_bad_to_verdict_s=_since(bad_s, verdict_ms),
            first_bad_to_command_s=_since(bad_s, command.at_ms if command else None),
            first_bad_to_all_back_s=_since(bad_s, self._watch.back_ms(running.version, began_ms)),
            first_bad_to_recovered_s=_since(bad_s, self._recovered_ms(running, began_ms, p95_ms)),
        )

    def _recovered_ms(self, running: Release, began_ms: int, p95_ms: float) -> int | None:
        back_ms = self._watch.back_ms(running.version, began_ms)
        if back_ms is None:
            return None
        return self._watch.recovered_ms(back_ms, IN_BAND_ERROR_RATIO, p95_ms * IN_BAND_P95_FACTOR)

    def _state(self) -> SubjectState:
        return next(decision.state for decision in reversed(self._news) if decision.state is not None)

    def _ended(self) -> Result | None:
        """Return how the release that was started last has ended; None while it has not."""
        states = [decision.state for decision in self._news if decision.state is not None]
        return states[-1].result if states and states[-1].phase is Phase.DONE else None

    def _all_run(self, version: str) -> bool:
        running = self._watch.running
        return len(running) == self._options.servers and all(
            service.version == version and service.state is ServiceState.READY for service in running.values()
        )

    def _healthy(self) -> bool:
        """Whether the last panes show all servers' traffic, within the band."""
        panes = [self._watch.panes[end_ms] for end_ms in sorted(self._watch.panes)][-int(HEALTHY_S) :]
        enough = 0.8 * RATE_PER_SERVER * self._options.servers
        return len(panes) == int(HEALTHY_S) and all(pane.requests > enough for pane in panes)


def _since(bad_s: float, at_ms: int | None) -> float | None:
    return None if at_ms is None else round(at_ms / 1000 - bad_s, 3)
