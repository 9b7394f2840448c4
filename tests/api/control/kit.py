"""An installation in memory (the real decision agent, real node agents) and its API, asked over HTTP as anybody would."""

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import httpx
import requests
from prometheus_client import CollectorRegistry
from tests.api.ahead import Ahead
from tests.cli.kit import World

from tidegate.api import Board, Control, Metrics, Mirror, Served, Tokens, flags_served
from tidegate.api.control.calls import Visitor
from tidegate.api.roles import Role
from tidegate.api.serve import NO_PAGES
from tidegate.api.tokens import FILE, Grant, make_token
from tidegate.cli.publish import documents
from tidegate.console import File
from tidegate.ports import Log
from tidegate.runtime.settings import AlertSettings, ApiSettings
from tidegate.wire.documents import KeyRole
from tidegate.wire.envelope import Signer, Signs, seal
from tidegate.wire.plans import Artifact, Pause, Plan, Rollback, Stage, WhenBusy

BASE = "/api/v1"
OLD, NEW = Artifact(version="v1", sha256="a" * 64), Artifact(version="v2", sha256="b" * 64)


class Told(NamedTuple):
    """An event as a client has it. The first of a stream, without a name, says where it begins."""

    id: str
    event: str
    data: Any


async def told(answer: httpx.Response) -> AsyncIterator[Told]:
    """Yield the events of a stream until it ends; comments are none."""
    name, event, data = "", "", None
    async for line in answer.aiter_lines():
        field, _, value = line.partition(": ")
        if field == "id":
            name = value
        elif field == "event":
            event = value
        elif field == "data":
            data = json.loads(value)
        elif not line and (event or name):
            yield Told(name, event, data)
            name, event, data = "", "", None


class Installation:
    """What a test holds of it."""

    def __init__(self, world: World, log: Log) -> None:
        self.world = world
        self.log = log
        self.registry = CollectorRegistry()
        self.mirror = Mirror(log, world.clock, world.home.trust)
        self.signer: Signs | None = world.home.signer(KeyRole.API)
        self.alerts = AlertSettings()
        self.control: Control
        self.served: Served
        self.texts: dict[str, str] = {}
        self.tokens: Tokens
        self.tokens_file = world.home.folder / FILE
        self.visitor = Visitor("", Role.VIEWER)
        self.ahead = Ahead(world.clock)
        """By it tokens are looked at."""
        # Not the loop's own: the server signs in one of those, and all may wait for it.
        self._threads = ThreadPoolExecutor(120)
        self._session = requests.Session()
        self._session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=120))

    def token(self, name: str, role: Role | None, *scopes: str, expires_ms: int = 0) -> str:
        """Make a token; tests name it by its name."""
        grant = Grant(role=role, scopes=scopes, expires_ms=expires_ms)
        self.texts[name] = make_token(self.tokens_file, name, (), grant)
        return name

    @contextlib.asynccontextmanager
    async def serve(
        self, *, follow: bool = True, origins: Sequence[str] = (), pages: Mapping[str, File] = NO_PAGES
    ) -> AsyncIterator["Installation"]:
        """Serve until the block ends."""
        clock = self.world.clock
        board = Board(self.log, clock, self.world.home.trust)
        self.control = Control(self.mirror, self.log, clock, self.signer, self.registry, alerts=self.alerts)
        self.tokens = tokens = Tokens(self.tokens_file, self.ahead)
        settings = ApiSettings(port=0, sync=0, origins=list(origins))
        metrics = Metrics(self.registry, board)
        async with flags_served(board, metrics, tokens, settings, self.control, pages=pages) as self.served:
            following = asyncio.create_task(self.mirror.follow()) if follow else None
            try:
                if follow:
                    await self.mirror.caught_up.wait()
                yield self
            finally:
                if following is not None:
                    following.cancel()
                    await asyncio.gather(following, return_exceptions=True)
                self._session.close()
                self._threads.shutdown(wait=False)

    async def ask(self, method: str, path: str, by: str = "", body: Any = None, **headers: str) -> requests.Response:
        """Ask, with the token of a name (or none); underscores in names of headers are hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if by:
            named["Authorization"] = f"Bearer {self.texts.get(by, by)}"
        data = {"data": body} if isinstance(body, bytes) else {"json": body}
        return await self.fetch(method, BASE + path, named, **data)

    async def fetch(self, method: str, path: str, headers: dict[str, str], **more: Any) -> requests.Response:
        """Ask for what is served at a path, by no token, and without making the path another."""
        asked = requests.Request(method, self.served.url, headers=headers, **more)
        prepared = self._session.prepare_request(asked)
        prepared.url = self.served.url + path
        ask = functools.partial(self._session.send, prepared, timeout=30)
        return await asyncio.get_running_loop().run_in_executor(self._threads, ask)

    async def get(self, path: str, by: str = "", **headers: str) -> requests.Response:
        """GET."""
        return await self.ask("GET", path, by, **headers)

    async def post(self, path: str, by: str = "", body: Any = None, **headers: str) -> requests.Response:
        """POST JSON, or bytes as they are."""
        return await self.ask("POST", path, by, body, **headers)

    async def start(self, by: str, identity: str = "p1", **fields: Any) -> requests.Response:
        """Hand on a plan that the operator signed."""
        return await self.post("/rollouts", by, self.signed(identity, **fields))

    def signed(self, identity: str = "p1", by: Signer | None = None, **fields: Any) -> bytes:
        """A plan as an operator signs it. Its first stage waits for a person."""
        known = {
            "id": identity,
            "fleet": self.world.home.settings.fleet,
            "service": "shop",
            "artifact": OLD,
            "stages": (Stage(set_nodes=1, bake="1ms", min_requests=0, pause=Pause()), Stage(set_weight=100, bake="1ms")),
            "expires_ms": 1 << 42,
            "watch": "0s",
            "max_unavailable": "100%",
            "when_busy": WhenBusy.REFUSE,
            "actor": "olga",
        }
        return seal(Plan(**(known | fields)), by or self.world.home.signer(KeyRole.OPERATOR))

    def upgrade(self, **fields: Any) -> dict[str, Any]:
        """Fields of a plan that goes from the old version to the new one."""
        return {"artifact": NEW, "rollback": Rollback(artifact=OLD)} | fields

    @contextlib.asynccontextmanager
    async def opened(self, by: str = "") -> AsyncIterator[int]:
        """The status of the stream of events, while it is open."""
        named = {"Authorization": f"Bearer {self.texts.get(by, by)}"} if by else {}
        async with (
            httpx.AsyncClient(timeout=20) as client,
            client.stream("GET", f"{self.served.url}{BASE}/events", headers=named) as answer,
        ):
            yield answer.status_code

    @contextlib.asynccontextmanager
    async def events(self, by: str = "", last: str = "", **query: str) -> AsyncIterator[AsyncIterator[Told]]:
        """The stream of events, from now on or since an id; ``query`` says which."""
        named = {"Authorization": f"Bearer {self.texts[by]}"} if by else {}
        named |= {"Last-Event-ID": last} if last else {}
        async with (
            httpx.AsyncClient(timeout=20) as client,
            client.stream("GET", f"{self.served.url}{BASE}/events", params=query, headers=named) as answer,
        ):
            assert answer.status_code == 200, await answer.aread()
            found = told(answer)
            await anext(found)
            yield found

    @contextlib.asynccontextmanager
    async def stream_of(self, last: str) -> AsyncIterator[Told]:
        """The first event of a stream since an id."""
        async with (
            httpx.AsyncClient(timeout=20) as client,
            client.stream("GET", f"{self.served.url}{BASE}/events", headers={"Last-Event-ID": last}) as answer,
        ):
            yield await anext(told(answer))

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds of what the API has read."""
        async with asyncio.timeout(20):
            while not holds():
                await self.mirror.window.more(self.mirror.window.number)

    async def until_recent(self, panes: int) -> None:
        """Wait until so many panes of the service shop were read."""
        async with asyncio.timeout(20):
            while len(list(self.mirror.recent.kpis("shop"))) < panes:
                await self.mirror.wait("nothing", 0.02)

    async def until_counted(self, experiment: str) -> None:
        """Wait until something was read of an experiment."""
        async with asyncio.timeout(20):
            while experiment not in self.mirror.counted.pooled():
                await self.mirror.wait("nothing", 0.02)

    async def until_asked(self, number: int) -> None:
        """Wait until so many plans and intents were read."""
        with self.world.log.news() as news:
            async with asyncio.timeout(20):
                while len(self.mirror.asked) < number:
                    await self.mirror.wait("nothing", 0.02)
                    news.clear()

    async def generation(self, service: str = "shop", by: str = "") -> str:
        """The ETag of a rollout."""
        return (await self.get(f"/rollouts/{service}", by)).headers["ETag"]


@contextlib.asynccontextmanager
async def quiet(world: World) -> AsyncIterator[Installation]:
    """Nobody decides and no node runs: what there is of an installation is its keys."""
    for key, value in documents(world.home):
        await world.log.append("keys", key, value)
    yield Installation(world, world.log)


@contextlib.asynccontextmanager
async def installed(world: World) -> AsyncIterator[Installation]:
    """The agents run and their log is open; nothing is served yet."""
    async with world.open_log(world.home, "test") as log:
        yield Installation(world, log)
