"""The ways to a simulated broker: what each fault does to a send and to a reader."""

from random import Random

import pytest

from tidegate.ports import SendUnknown
from tidegate.world.network import SEND_TIMEOUT_MS, Broker, Client, Link, Sent
from tidegate.world.process import Died, End, Process
from tidegate.world.timeline import Timeline


class Site:
    """One process with one client, and what became of what it was asked to do."""

    def __init__(self, **link) -> None:
        self.timeline = Timeline(1_000_000)
        self.landed: list[bytes] = []
        self.broker = Broker(self.timeline, lambda record, *_: self.landed.append(record.value))
        self.process = Process(self.timeline, "p", Random(1))
        self.client = Client(self.broker, self.process, Link(**link))
        self.said: list[object] = []

    def do(self, work) -> None:
        async def main() -> None:
            try:
                self.said.append(await work)
            except SendUnknown:
                self.said.append("unknown")

        self.process.begin(main())

    def send(self, value: bytes = b"1") -> None:
        self.do(self.client.append("decisions", None, value))

    def after(self, ms: int) -> None:
        self.timeline.run_until(self.timeline.now_ms + ms)


def test_a_send_lands_and_is_answered_with_its_offset():
    site = Site()
    site.send()
    site.after(100)
    assert (site.landed, site.said[0].offset) == ([b"1"], 0)


@pytest.mark.parametrize(
    ("fault", "landed_in_time", "landed_later"),
    [("lost", 0, 0), ("late", 0, 1), ("unanswered", 1, 1)],
)
def test_a_fault_of_a_send_leaves_its_sender_without_an_answer(fault, landed_in_time, landed_later):
    site = Site(**{fault: 1.0})
    site.send()
    site.after(SEND_TIMEOUT_MS)
    assert (len(site.landed), site.said) == (landed_in_time, ["unknown"])
    site.after(20_000)
    assert len(site.landed) == landed_later


def test_a_doubled_send_stands_there_twice_and_is_answered_for_the_first():
    site = Site(doubled=1.0)
    site.send()
    site.after(100)
    assert (site.landed, site.said[0].offset) == ([b"1", b"1"], 0)


def test_what_cannot_leave_leaves_when_the_way_is_mended_or_never():
    site = Site()
    site.client.set_link(up=False, down=False)
    site.send()
    site.after(4_000)
    assert (site.landed, site.said) == ([], [])
    site.client.set_link(up=True, down=True)
    site.after(100)
    assert (site.landed, site.said[0].offset) == ([b"1"], 0)
    site.client.set_link(up=False, down=False)
    site.send(b"2")
    site.after(SEND_TIMEOUT_MS + 1)
    site.client.set_link(up=True, down=True)
    site.after(30_000)
    assert (site.landed, site.said[1]) == ([b"1"], "unknown")


def test_what_a_dead_process_had_sent_lands_all_the_same():
    site = Site(delay_ms=500)
    site.send()
    site.process.kill()
    site.after(1_000)
    assert (site.landed, site.said) == ([b"1"], [])


def test_following_may_lag_reading_to_the_end_does_not():
    site = Site(lag_ms=3_000)
    site.broker.land(Sent("decisions", None, b"1"), "x")
    found = {}

    async def follow() -> None:
        reader = await site.client.reader(["decisions"])
        found["polled"] = await reader.poll(1.0)
        found["to the end"] = await reader.read_to_end()

    site.do(follow())
    site.after(2_000)
    assert found["polled"] == []
    assert [record.value for record in found["to the end"]] == [b"1"]


def test_a_process_that_stands_still_reaches_out_only_when_it_goes_on():
    site = Site()
    site.process.light(1, End.STOP)
    site.send()
    site.after(60_000)
    assert (site.landed, site.said) == ([], [])
    site.process.go_on()
    site.after(100)
    assert site.landed == [b"1"]


@pytest.mark.parametrize("reaches", [1, 2, 3])
def test_a_process_dies_exactly_at_the_reach_that_was_meant(reaches):
    site = Site()

    async def three() -> None:
        for number in range(3):
            await site.client.append("decisions", None, b"%d" % number)

    site.process.light(reaches, End.KILL)
    site.do(three())
    site.after(1_000)
    assert len(site.landed) == reaches - 1
    assert site.process.dead
    with pytest.raises(Died):
        site.process.reach()


def test_compaction_keeps_the_last_record_of_a_key_at_its_offset():
    site = Site()
    for key, value in [("a", b"1"), ("b", b"2"), ("a", b"3")]:
        site.broker.land(Sent("desired", key, value), "x")
    site.broker.compact("desired")
    assert [(one.offset, one.value) for one in site.broker.topic("desired")] == [(1, b"2"), (2, b"3")]
    assert [one.offset for one in site.broker.since(("desired", 0), 2)] == [2]
