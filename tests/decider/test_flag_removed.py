"""A flag's end (G5): safe for good, days later a tombstone, and whoever serves it drops it; its name stays taken for ever."""

import asyncio
import json

import pytest
from tests.decider.flagkit import Place
from tests.decider.kit import TRUST
from tests.flagfeed.kit import Reader
from tests.rollout.flags import DARK, ramp, spec

from tidegate.api import Board
from tidegate.api.ofrep import single
from tidegate.node.flagfile import FlagFiles
from tidegate.rollout.flag_steps import TOMBSTONE_MS
from tidegate.wire.documents import Verb
from tidegate.wire.reasons import Reason
from tidegate.world import MemoryDisk

SOON_S = 10
"""So long before the tombstone is due everybody comes back."""


class Serving:
    """The three that serve flags, one life after another: a provider, the API, and the file of a node."""

    def __init__(self, place: Place, folder) -> None:
        self._place = place
        self._path = folder / "web.json"
        self._disks = [MemoryDisk() for _ in range(3)]
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        log, clock, (first, second, third) = self._place.log, self._place.clock, self._disks
        self.provider = Reader(log, clock, first, TRUST)
        self.board = Board(log, clock, TRUST, second)
        self.files = FlagFiles(log, clock, third, TRUST, {"web": self._path})
        ways = (self.provider.follower.follow(), self.board.follow(), self.files.run())
        self._tasks = [asyncio.create_task(one) for one in ways]

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        assert not [one for one in ended if isinstance(one, Exception)]
        self._tasks = []

    def give(self, name: str) -> list[str | None]:
        """What each gives everyone of a flag; None: it knows no such flag."""
        answered = json.loads(single(self.board, "web", name, b"").body)
        held = json.loads(self._path.read_bytes())["flags"] if self._path.exists() else {}
        assert answered.get("errorCode") in (None, "FLAG_NOT_FOUND")
        return [self.provider.default(f"web/{name}"), answered.get("variant"), held.get(name, {}).get("defaultVariant")]

    async def all_give(self, name: str, variant: str | None) -> None:
        """Wait for the file, which a thread writes."""
        async with asyncio.timeout(20):
            while self.give(name) != [variant] * 3:
                await asyncio.to_thread(lambda: None)

    @property
    def refused(self) -> int:
        return sum((self.provider.held.refused + self.files.refused).values())


@pytest.fixture
async def place():
    place = Place()
    await place.enrol()
    yield place
    await place.end()


@pytest.fixture
async def serving(place, tmp_path):
    serving = Serving(place, tmp_path)
    yield serving
    await serving.end()


async def archived(place: Place, serving: Serving) -> None:
    """A flag that everybody serves is archived; then agent and followers are away until right before its record leaves."""
    place.start("a")
    serving.begin()
    for subject in (DARK, "flag/web/other"):
        await place.put(spec(immediate=True), subject=subject)
    await place.clock.advance(1)
    await serving.all_give("dark", "on")
    await place.want(Verb.ARCHIVE)
    await place.clock.advance(3)  # snapshots are written
    await serving.all_give("dark", "off")
    await place.kill("a")
    await serving.end()
    await place.clock.advance(TOMBSTONE_MS / 1_000 - 3 - SOON_S)


async def test_its_record_leaves_the_topic_days_later_and_everybody_drops_it(place, serving):
    await archived(place, serving)
    place.start("b")
    serving.begin()
    await place.clock.advance(SOON_S - 1)
    await serving.all_give("dark", "off")
    await place.clock.advance(2)
    await serving.all_give("dark", None)
    await serving.all_give("other", "on")
    last = place.decisions()[-1]
    assert (last.kind, last.subject, last.reason) == ("remove", DARK, Reason.EXPIRED)
    assert serving.refused == 0


async def test_who_was_away_with_an_older_snapshot_and_who_is_new_have_none_of_it(place, serving):
    await archived(place, serving)
    place.start("b")
    await place.clock.advance(2 * SOON_S)
    place.log.compact("flags")
    serving.begin()
    await place.clock.advance(1)
    await serving.all_give("dark", None)
    new = Reader(place.log, place.clock, None, TRUST)
    following = asyncio.create_task(new.follower.follow())
    await place.clock.advance(1)
    following.cancel()
    assert (new.default("web/dark"), new.default("web/other"), sum(new.held.refused.values())) == (None, "on", 0)


@pytest.mark.parametrize("wanted", [(spec(immediate=True), None), (spec(), ramp())], ids=["at once", "by stages"])
async def test_its_name_is_never_used_again_whoever_leads(place, serving, wanted):
    await archived(place, serving)
    place.start("b")
    await place.put(*wanted)
    await place.clock.advance(2 * SOON_S)
    await place.kill("b")
    place.log.compact("flags")
    place.start("c")
    await place.clock.advance(15)
    await place.put(*wanted)
    for verb in (Verb.KILL, Verb.RESTORE, Verb.ARCHIVE):
        await place.want(verb)
    await place.clock.advance(1)
    answers = [one for one in place.decisions() if one.answers and one.subject == DARK]
    assert [one.reason for one in answers[2:]] == [Reason.NOT_ALLOWED] * 2 + [Reason.NOTHING_TO_DO] * 3
    assert [record.value for record in place.log.topic("flags") if record.key == "web/dark"][-1] is None
    assert sum(one.kind == "remove" for one in place.decisions()) == 1
