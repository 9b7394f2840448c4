"""Flags served on free ports of this machine, from a log in memory, and clients of others that ask."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import requests
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext
from openfeature.provider import AbstractProvider
from prometheus_client import CollectorRegistry
from tests.api.ahead import Ahead
from tests.flagfeed.kit import TRUST, Author
from tests.flags.matrix import Case

from tidegate.api import Board, Metrics, Served, Tokens, flags_served
from tidegate.api.tokens import FILE
from tidegate.ports import SystemClock, SystemDisk
from tidegate.runtime.settings import ApiSettings
from tidegate.wire.flags import Kind
from tidegate.world import MemoryLog

Answer = tuple[Any, str | None, str, str | None]
"""Value, variant, reason, error code, as tests/flags/stock.py has them."""


class Place:
    """A served log with its author."""

    def __init__(self, folder: Path) -> None:
        self.clock = SystemClock()
        self.ahead = Ahead(self.clock)
        """By it tokens are looked at."""
        self.log = MemoryLog(self.clock)
        self.author = Author(self.log)
        self.board = Board(self.log, self.clock, TRUST, SystemDisk(folder / "state"))
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, self.board)
        self.tokens_file = folder / FILE
        self.tokens: Tokens
        self.served: Served

    async def put(self, set_id: str, file: dict[str, Any]) -> None:
        """Publish a flagd file as a set."""
        for key, value in file["flags"].items():
            await self.author.put(f"{set_id}/{key}", json.dumps(value).encode())
        await self.author.put(f"{set_id}/$evaluators", json.dumps(file.get("$evaluators", {})).encode())
        await self.author.put(f"{set_id}/$metadata", json.dumps(file.get("metadata", {})).encode())

    @contextlib.asynccontextmanager
    async def serve(self, **settings: Any) -> AsyncIterator["Place"]:
        """Serve until the block ends; what is on the log by then has been read."""
        self.tokens = Tokens(self.tokens_file, self.ahead)
        how = ApiSettings(**({"port": 0, "sync": 0, "flag_set": "web"} | settings))
        async with flags_served(self.board, self.metrics, self.tokens, how) as self.served:
            following = asyncio.create_task(self.board.follow())
            try:
                if self.log.reachable:
                    async with asyncio.timeout(20):
                        await self.board.until_ready()
                yield self
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    @property
    def sync_port(self) -> int:
        return int(self.served.sync.rpartition(":")[2])

    async def post(self, path: str, body: Any = None, **headers: str) -> requests.Response:
        """POST a body (bytes as they are, anything else as JSON)."""
        data = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()} | {"Content-Type": "application/json"}
        return await asyncio.to_thread(requests.post, self.served.url + path, data=data, headers=named, timeout=20)


@contextlib.asynccontextmanager
async def client_of(provider: AbstractProvider) -> AsyncIterator[OpenFeatureClient]:
    """An OpenFeature client of a provider, as a service has it."""
    await asyncio.to_thread(api.set_provider_and_wait, provider, "api-test")
    try:
        yield api.get_client("api-test")
    finally:
        await asyncio.to_thread(api.clear_providers)


def flagd_provider(place: Place) -> FlagdProvider:
    """flagd's provider for Python, in process, with more time to begin than its half a second: machines are shared."""
    return FlagdProvider(
        host="127.0.0.1", port=place.sync_port, resolver_type=ResolverType.IN_PROCESS, selector="web", deadline_ms=20_000
    )


def asked(client: OpenFeatureClient, case: Case) -> Answer:
    """What a client gets."""
    ask: dict[Kind, Any] = {
        Kind.BOOLEAN: client.get_boolean_details,
        Kind.STRING: client.get_string_details,
        Kind.INTEGER: client.get_integer_details,
        Kind.FLOAT: client.get_float_details,
        Kind.OBJECT: client.get_object_details,
    }
    attributes = {name: value for name, value in case.context.items() if name != "targetingKey"}
    found = ask[case.kind](case.key, case.default, EvaluationContext(case.context.get("targetingKey"), attributes))
    code = found.error_code
    # OFREP has no null here: an empty variant is none.
    return found.value, found.variant or None, str(getattr(found.reason, "value", found.reason)), code and code.value
