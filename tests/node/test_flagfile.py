"""The flag file of a node: what counts on the topic, as flagd's JSON, whole, and only when it says something new."""

import asyncio
import json
from random import Random

import pytest
from msgspec.structs import replace
from openfeature import api
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.evaluation_context import EvaluationContext
from tests.flagfeed.kit import STRANGER, TRUST, Author, flag
from tests.flags.matrix import cases, flags
from tests.node.world import World
from tests.sdk.flagkit import Service

from tidegate.node.flagfile import FlagFiles
from tidegate.ports import SystemClock, SystemDisk
from tidegate.wire.documents import Order
from tidegate.wire.flags import EVALUATORS, METADATA, Kind, file_faults, file_of_set, flag_file, topic_key
from tidegate.wire.flagstamps import HEADER, stamp
from tidegate.world import MemoryLog


class Place:
    """A log and a node that keeps the file of one set, on real time."""

    def __init__(self, folder) -> None:
        self.log = MemoryLog(SystemClock())
        self.author = Author(self.log)
        self.path = folder / "run" / "web.json"
        self.state = folder / "state"
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> FlagFiles:
        files = FlagFiles(self.log, SystemClock(), SystemDisk(self.state), TRUST, {"web": self.path})
        self._task = asyncio.create_task(files.run())
        return files

    async def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def until(self, condition) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.to_thread(lambda: None)

    def held(self) -> dict[str, str | None]:
        """Each flag's default variant in the file."""
        if not self.path.exists():
            return {}
        return {name: value.get("defaultVariant") for name, value in json.loads(self.path.read_bytes())["flags"].items()}


@pytest.fixture
async def place(tmp_path):
    place = Place(tmp_path)
    yield place
    await place.end()


async def test_the_file_is_the_set_verbatim_and_another_only_when_it_says_something_new(place):
    value = b'{"variants": {"on": true},  "state": "ENABLED", "defaultVariant": "on"}'
    await place.author.put("web/dark", value)
    await place.author.put(f"web/{METADATA}", b'{"version": "7"}')
    await place.author.put(f"web/{EVALUATORS}", b'{"all": true}')
    await place.author.put("shop/other", flag())
    files = place.begin()
    await place.until(lambda: files.written["web"])
    data = place.path.read_bytes()
    found = flag_file(data)
    assert {name: bytes(one) for name, one in found.flags.items()} == {"dark": value}
    assert (bytes(found.metadata), bytes(found.evaluators)) == (b'{"version": "7"}', b'{"all": true}')
    assert not file_faults(found)
    assert place.path.stat().st_mode & 0o777 == 0o644
    before = place.path.stat().st_ino
    await place.author.put("web/dark", value)
    await place.author.put("shop/other", flag("off"))
    await Author(place.log, by=STRANGER, epoch=9).put("web/dark", flag("off"))
    await place.until(lambda: files.refused)
    assert (place.path.read_bytes(), place.path.stat().st_ino) == (data, before)
    await place.author.put("web/dark", None)
    await place.until(lambda: files.written["web"] == 2)
    assert place.held() == {}


async def test_without_broker_the_file_stays_and_is_made_again_where_it_was_lost(place):
    await place.author.put("web/dark", flag("on"))
    files = place.begin()
    await place.until(lambda: files.written["web"])
    await place.end()
    place.log.reachable = False
    data = place.path.read_bytes()
    place.path.unlink()
    again = place.begin()
    await place.until(lambda: again.written["web"])
    assert place.path.read_bytes() == data


async def test_a_node_that_has_read_nothing_leaves_the_file_alone(place):
    place.path.parent.mkdir()
    place.path.write_bytes(file_of_set({"dark": flag("on")}).encoded())
    place.log.reachable = False
    files = place.begin()
    await asyncio.gather(*(asyncio.to_thread(lambda: None) for _ in range(20)))
    assert (place.held(), files.written) == ({"dark": "on"}, {})


async def test_a_file_that_cannot_be_written_is_tried_again(place, monkeypatch):
    monkeypatch.setattr("tidegate.node.flagfile.AGAIN_S", 0.01)
    place.path.parent.write_text("in the way")
    await place.author.put("web/dark", flag("on"))
    files = place.begin()
    await place.until(place.state.exists)
    place.path.parent.unlink()
    await place.until(lambda: files.written["web"])
    assert place.held() == {"dark": "on"}


async def test_the_agent_keeps_the_files_of_its_configuration(tmp_path):
    world = World()
    await world.installed()
    path = tmp_path / "web.json"
    world.config = replace(world.config, flag_files={"web": str(path)})
    value, key = flag("on"), topic_key("web/dark")
    author = world.author
    header = stamp(key, value, Order(1, 1, 1), author.trust.fleet, author.decision)
    async with world.agent():
        await world.log.append("flags", str(key), value, headers={HEADER: header})
        async with asyncio.timeout(20):
            while not (path.exists() and b"dark" in path.read_bytes()):
                await world.clock.advance(0.1)
                await asyncio.to_thread(lambda: None)


# Stock clients of flagd in file mode

KINDS = {
    Kind.BOOLEAN: "get_boolean_details",
    Kind.STRING: "get_string_details",
    Kind.INTEGER: "get_integer_details",
    Kind.FLOAT: "get_float_details",
    Kind.OBJECT: "get_object_details",
}
STOCK = "stock"


@pytest.fixture
def stock(monkeypatch):
    """Set flagd's own provider, configured by its own variables; return its client."""

    def begin(path):
        monkeypatch.setenv("FLAGD_RESOLVER", "file")
        monkeypatch.setenv("FLAGD_OFFLINE_FLAG_SOURCE_PATH", str(path))
        monkeypatch.setenv("FLAGD_DEADLINE_MS", "50")
        api.set_provider_and_wait(FlagdProvider(), STOCK)
        return api.get_client(STOCK)

    yield begin
    api.clear_providers()


async def test_a_stock_provider_in_file_mode_sees_a_kill(place, stock):
    await place.author.put("web/dark", flag("on"))
    files = place.begin()
    await place.until(lambda: files.written["web"])
    client = stock(place.path)
    assert client.get_boolean_value("dark", False) is True
    await place.author.put("web/dark", flag("off", metadata={"killed": True}))
    await place.until(lambda: not client.get_boolean_value("dark", True))


async def test_a_stock_provider_in_file_mode_and_ours_agree_case_by_case(place, stock, tmp_path):
    chance = Random(11)
    file = flags(chance)
    records = {f"web/{name}": json.dumps(value).encode() for name, value in file["flags"].items()}
    records |= {
        f"web/{name}": json.dumps(file[field]).encode() for name, field in ((EVALUATORS, EVALUATORS), (METADATA, "metadata"))
    }
    for key, value in records.items():
        await place.author.put(key, value)
    files = place.begin()
    await place.until(lambda: files.written["web"] and len(place.held()) == len(file["flags"]))
    theirs = stock(place.path)
    service = Service(tmp_path)
    await asyncio.to_thread(_publish, service, records)
    differ = []
    for case in cases(chance, file, 100):
        attributes = {name: value for name, value in case.context.items() if name != "targetingKey"}
        context = EvaluationContext(case.context.get("targetingKey"), attributes)
        answers = [
            (found.value, found.variant, str(found.reason), found.error_code)
            for found in (getattr(one, KINDS[case.kind])(case.key, case.default, context) for one in (theirs, service.client))
        ]
        if answers[0] != answers[1]:
            differ.append((case, answers))
    assert not differ


def _publish(service: Service, records: dict[str, bytes]) -> None:
    for key, value in records.items():
        service.put(key, value)
    service.begin()
