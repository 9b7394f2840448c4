"""Following the topic on simulated time: what is told, how old it is, what the disk gives at a start without broker."""

import asyncio
import contextlib

import pytest
from tests.flagfeed.kit import DECISION, SECOND, STRANGER, TRUST, Author, Reader, flag, root_document

from tidegate.flagfeed import Status
from tidegate.flagfeed.follow import SAVE_PAUSE_S, SNAPSHOT, STALE_AFTER_S, TICK_S
from tidegate.ports import SystemDisk
from tidegate.world import MemoryDisk, MemoryLog, SimClock


class Place:
    """A log, a clock, and followers."""

    def __init__(self) -> None:
        self.clock = SimClock()
        self.log = MemoryLog(self.clock)
        self.author = Author(self.log)
        self._tasks: list[asyncio.Task[None]] = []

    async def follow(self, **how) -> Reader:
        reader = Reader(self.log, self.clock, **how)
        self._tasks.append(asyncio.create_task(reader.follower.follow()))
        await self.clock.settle()
        return reader

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()


@pytest.fixture
async def place():
    place = Place()
    yield place
    await place.end()


async def test_what_was_there_is_read_before_it_is_ready_and_changes_are_told_at_once(place):
    await place.author.put("web/dark", flag("on"))
    reader = await place.follow()
    assert (reader.follower.status, reader.follower.age_s) == (Status.READY, 0.0)
    assert reader.default("web/dark") == "on"
    reader.told.clear()
    await place.author.put("web/dark", flag("off"))
    await place.clock.settle()
    assert (reader.default("web/dark"), reader.changed()) == ("off", ["web/dark"])


async def test_an_empty_topic_is_read_to_its_end_too(place):
    reader = await place.follow()
    assert [news.status for news in reader.told] == [Status.READY]


async def test_a_value_that_is_published_again_is_no_change(place):
    await place.author.put("web/dark", flag("on"))
    reader = await place.follow()
    reader.told.clear()
    await place.author.put("web/dark", flag("on"))
    await place.clock.settle()
    assert reader.changed() == []


async def test_without_broker_flags_stay_and_their_age_grows_until_it_is_back(place):
    await place.author.put("web/dark", flag("on"))
    reader = await place.follow()
    place.log.reachable = False
    await place.clock.advance(100)
    assert reader.default("web/dark") == "on"
    assert reader.follower.status is Status.STALE
    assert 100 - STALE_AFTER_S < reader.follower.age_s <= 103
    place.log.reachable = True
    await place.author.put("web/dark", flag("off"))
    await place.clock.advance(5)
    assert (reader.default("web/dark"), reader.follower.status) == ("off", Status.READY)
    assert [news.status for news in reader.told if not news.changed] == [Status.READY, Status.STALE, Status.READY]


async def test_a_quiet_topic_is_not_stale(place):
    reader = await place.follow()
    await place.clock.advance(10 * STALE_AFTER_S)
    assert [news.status for news in reader.told] == [Status.READY]


async def test_a_start_without_broker_has_what_was_read_before_and_says_how_old_that_is(place, tmp_path):
    await place.author.put("web/dark", flag("on"))
    await place.follow(disk=SystemDisk(tmp_path))
    await place.end()
    place.log.reachable = False
    await place.clock.advance(50)
    reader = await place.follow(disk=SystemDisk(tmp_path))
    assert (reader.default("web/dark"), reader.changed()) == ("on", ["web/dark"])
    assert (reader.follower.status, reader.follower.age_s) == (Status.STALE, 50.0)
    place.log.reachable = True
    await place.clock.advance(1)
    assert reader.follower.status is Status.READY


async def test_a_start_without_broker_and_snapshot_has_nothing(place, tmp_path):
    place.log.reachable = False
    reader = await place.follow(disk=SystemDisk(tmp_path))
    await place.clock.advance(60)
    assert (reader.follower.status, reader.follower.age_s, reader.told) == (Status.NOT_READY, None, [])


async def test_a_snapshot_keeps_a_log_that_was_set_back_from_setting_flags_back(place, tmp_path):
    await place.author.put("web/dark", flag("on"))
    await place.author.put("web/dark", flag("off"))
    await place.follow(disk=SystemDisk(tmp_path))
    await place.end()
    del place.log.records["flags", 0][1]
    reader = await place.follow(disk=SystemDisk(tmp_path))
    assert (reader.default("web/dark"), reader.follower.status) == ("off", Status.READY)


async def test_a_torn_snapshot_is_passed_over_and_written_anew(place, tmp_path):
    (tmp_path / SNAPSHOT).write_bytes(b"torn")
    await place.author.put("web/dark", flag("on"))
    reader = await place.follow(disk=SystemDisk(tmp_path))
    assert reader.follower.trouble
    assert reader.follower.status is Status.READY
    await place.end()
    place.log.reachable = False
    assert (await place.follow(disk=SystemDisk(tmp_path))).default("web/dark") == "on"


async def test_a_kill_is_on_disk_at_the_next_tick_whatever_becomes_of_the_process(place):
    disk = MemoryDisk()
    await place.author.put("web/dark", flag("on"))
    await place.follow(disk=disk)
    await place.clock.advance(60)
    await saved(place, disk, "on")
    await place.author.put("web/dark", flag("off"))
    await place.clock.advance(TICK_S)
    await saved(place, disk, "off")


async def saved(place, disk, variant):
    """Wait for the thread that writes, while the clock stands still."""
    async with asyncio.timeout(20):
        while True:
            held = Reader(place.log, place.clock)
            if data := disk.read(SNAPSHOT):
                held.held.restore(data)
            if held.default("web/dark") == variant:
                return
            await asyncio.to_thread(lambda: None)


class FullDisk:
    """Takes nothing while it is full."""

    def __init__(self) -> None:
        self.full = True
        self.held: dict[str, bytes] = {}
        self.tried = asyncio.Event()

    def read(self, name: str) -> bytes | None:
        return self.held.get(name)

    def write(self, name: str, data: bytes) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.held[name] = data

    def free_bytes(self) -> int:
        return 0


async def test_a_full_disk_stops_nothing_and_is_tried_again(place):
    disk = FullDisk()
    await place.author.put("web/dark", flag("on"))
    reader = await place.follow(disk=disk)
    while not reader.follower.trouble:
        await place.clock.advance(SAVE_PAUSE_S)
        await asyncio.to_thread(lambda: None)
    assert reader.follower.status is Status.READY
    disk.full = False
    while not disk.held:
        await place.clock.advance(SAVE_PAUSE_S)
        await asyncio.to_thread(lambda: None)
    assert reader.follower.trouble == ""


async def test_what_a_new_decision_key_said_before_its_key_document_was_seen_counts_after_it(place):
    await place.author.put("web/dark", flag("on"))
    reader = await place.follow()
    await Author(place.log, by=SECOND, root_version=2).put("web/dark", flag("off"))
    await place.clock.settle()
    assert reader.default("web/dark") == "on"
    await place.log.append("keys", "2", root_document(2, SECOND, (TRUST.keys[DECISION.key_id].public,)))
    await place.clock.settle()
    assert (reader.default("web/dark"), reader.follower.status) == ("off", Status.READY)
    await Author(place.log, epoch=9).put("web/dark", flag("on"))
    await place.clock.settle()
    assert reader.default("web/dark") == "off"


async def test_forged_records_change_nothing_however_many(place):
    await place.author.put("web/dark", flag("on"))
    reader = await place.follow()
    forger = Author(place.log, by=STRANGER, epoch=99)
    for _ in range(300):
        await forger.put("web/dark", flag("off"))
    await place.clock.settle()
    assert reader.default("web/dark") == "on"
    assert reader.held.refused == {"bad_signature": 300}


async def test_who_stops_following_leaves_no_task_behind(place):
    await place.follow()
    await place.end()
    with contextlib.suppress(asyncio.CancelledError):
        assert asyncio.all_tasks() == {asyncio.current_task()}
