"""OTLP/HTTP on a free port of this machine, into a log in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import requests
from prometheus_client import CollectorRegistry

from tidegate.api.tokens import Tokens
from tidegate.bridge import Metrics, Receiver, Sorter, received
from tidegate.broker.local import free_ports
from tidegate.otlp.identity import NODE_FROM
from tidegate.ports import SystemClock
from tidegate.runtime.settings import BridgeSettings
from tidegate.wire.otlp import Export, decode
from tidegate.world import MemoryLog

PROTO, JSON = "application/x-protobuf", "application/json"


class Place:
    """What is served, what was sent there, and what came of it."""

    def __init__(self, folder: Path) -> None:
        self.log = MemoryLog(SystemClock())
        self.tokens_file = folder / "bridge-tokens.yaml"
        self.registry = CollectorRegistry()
        self._metrics = Metrics(self.registry)
        self._session = requests.Session()
        self.url = ""

    @contextlib.asynccontextmanager
    async def serve(self, log: object = None, **settings: object) -> AsyncIterator["Place"]:
        tokens = Tokens(self.tokens_file, SystemClock())
        sorter = Sorter(log or self.log, self._metrics, NODE_FROM)
        how = BridgeSettings(**({"port": free_ports(1)[0]} | settings))
        async with received(Receiver(sorter, tokens, self._metrics), tokens, how) as self.url:
            yield self
        self._session.close()

    async def post(self, body: bytes, kind: str | None = PROTO, **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named |= {"Content-Type": kind} if kind is not None else {}
        return await asyncio.to_thread(self._session.post, self.url, data=body, headers=named, timeout=30)

    @property
    def exports(self) -> list[Export]:
        return [decode(record.value) for record in self.log.topic("otlp")]
