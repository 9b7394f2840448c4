"""notify as a process runs it, on a log in memory and the machine's clock."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from tidegate.alarms.notices import Policy
from tidegate.notify import Notifier, Place, Target, build
from tidegate.ports import Disk, SystemClock
from tidegate.wire.codec import encode
from tidegate.wire.envelope import Trust
from tidegate.wire.judgement import Alarm
from tidegate.world import MemoryDisk, MemoryLog

FAST = Policy(wait_ms=300, interval_ms=600, repeat_ms=3_600_000)
CONSOLE = "http://127.0.0.1/console"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"


class Plant:
    """A log, and notify processes that read it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = MemoryLog(SystemClock())
        self.registry = CollectorRegistry()
        secret = folder / "hook.secret"
        secret.write_text(SECRET + "\n")
        secret.chmod(0o600)

    async def say(self, *alarms: Alarm) -> None:
        for one in alarms:
            await self.log.append("alarms", one.key, encode(one))

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    @contextlib.asynccontextmanager
    async def notify(
        self, *targets: dict[str, Any] | Target, policy: Policy = FAST, disk: Disk | None = None
    ) -> AsyncIterator[Notifier]:
        """Run one process until the block ends; what it raises is raised there."""
        entries = [one for one in targets if isinstance(one, dict)]
        self.registry = CollectorRegistry()
        notifier = Notifier(
            self.log,
            SystemClock(),
            disk or MemoryDisk(),
            Trust("local", 1, {}),
            build(entries, policy, Place(self.folder, CONSOLE)) + [one for one in targets if not isinstance(one, dict)],
            registry=self.registry,
        )
        running = asyncio.create_task(notifier.run())
        try:
            yield notifier
        finally:
            await notifier.stop()
            await running


def webhook(url: str, name: str = "chat") -> dict[str, Any]:
    return {"kind": "webhook", "name": name, "url": url, "secret": "file:hook.secret"}
