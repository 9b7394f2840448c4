"""A provider as a service has it, on a log in memory, and what OpenFeature tells of it."""

import asyncio
import queue
from pathlib import Path
from typing import Any

from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.event import EventDetails, ProviderEvent
from tests.flagfeed.kit import Author, root_file

from tidegate.ports import SystemClock
from tidegate.sdk.flags import FlagSettings, TidegateProvider
from tidegate.world import MemoryLog

DOMAIN = "test"
WITHIN_S = 20.0
EVENTS = {
    ProviderEvent.PROVIDER_READY: "ready",
    ProviderEvent.PROVIDER_STALE: "stale",
    ProviderEvent.PROVIDER_ERROR: "error",
    ProviderEvent.PROVIDER_CONFIGURATION_CHANGED: "changed",
}


def settings(folder: Path, **fields: Any) -> FlagSettings:
    known = {"flag_set": "web", "root": root_file(folder), "service": "shop", "node": "n1", "bootstrap": "memory"}
    return FlagSettings(**(known | fields))


class Service:
    """A log with its author, a provider that follows it, an OpenFeature client, and the events that the client has heard."""

    def __init__(self, folder: Path, **fields: Any) -> None:
        self.log = MemoryLog(SystemClock())
        self.author = Author(self.log)
        self.provider = TidegateProvider(settings(folder, **fields), self.log)
        self.client: OpenFeatureClient = api.get_client(DOMAIN)
        self.heard: queue.Queue[tuple[str, EventDetails]] = queue.Queue()

    def put(self, key: str, value: bytes | None) -> None:
        """Publish, before the provider begins or while it follows."""
        publishing = self.author.put(key, value)
        if self.provider._thread is None:
            asyncio.run(publishing)
        else:
            asyncio.run_coroutine_threadsafe(publishing, self.provider._loop).result(WITHIN_S)

    def begin(self) -> None:
        """Set the provider, as a service does; raises what that raises."""
        for event, name in EVENTS.items():
            self.client.add_handler(event, lambda details, name=name: self.heard.put((name, details)))
        api.set_provider_and_wait(self.provider, DOMAIN)

    def next(self, name: str) -> EventDetails:
        """Wait for an event of a name; return its details."""
        while True:
            heard, details = self.heard.get(timeout=WITHIN_S)
            if heard == name:
                return details

    def exposures(self) -> list[bytes]:
        return [record.value or b"" for record in self.log.topic("exposures")]

    def end(self) -> None:
        api.clear_providers()
