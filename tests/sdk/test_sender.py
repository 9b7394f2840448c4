"""Rows on their way: to a broker in memory that answers, stays silent, or does not even listen."""

import asyncio
import logging
from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from tests.sdk.broker import Broker, theirs

from tidegate.sdk import AsyncPublisher, Identity, Recorder, sender
from tidegate.sdk.sender import Sender, Stats
from tidegate.wire.telemetry import Telemetry, decode

FAILURES = 5
STOP_WITHIN_S = 30.0
SOON_S = 0.05
"""In place of times that nobody wants to wait for here."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "RETRY_FIRST_S", SOON_S)
    monkeypatch.setattr(sender, "RETRY_MOST_S", SOON_S)


@pytest.fixture
def short_of_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A send is given up soon; only where no answer is wanted."""
    monkeypatch.setattr(sender, "SEND_TIMEOUT_S", SOON_S)


def rows() -> Iterator[Telemetry]:
    recorder = Recorder(Identity(service="shop", node="n1", version="v1", boot="b1"), 0)
    second = 0
    while True:
        second += 1
        recorder.record(0.01)
        yield recorder.cut(second * 1_000)


def tasks() -> set[asyncio.Task]:
    return asyncio.all_tasks() - {asyncio.current_task()}


UNFIT = [
    {"gauges": {"queue": 1j}},
    {"requests": 10**30},
    {"slices": {"\ud800": None}},
    {"slices": {"route=/": 7}},
    {"node": "\ud800"},
    {"zone": "x" * (1 << 20)},
]


@pytest.mark.parametrize("unfit", UNFIT, ids="".join)
async def test_a_row_that_cannot_be_sent_is_dropped_and_counted_and_the_ones_after_it_leave(unfit, caplog):
    async with Broker() as broker:
        made, sending = rows(), Sender(broker.bootstrap)
        sending.start()
        with caplog.at_level(logging.WARNING, "tidegate.sdk"):
            for row in (next(made), replace(next(made), **unfit), replace(next(made), **unfit), next(made)):
                sending.put(row)
            await broker.until(lambda: len(broker.kept) == 2)
            await sending.stop(STOP_WITHIN_S)
        assert [decode(value).seq for value in broker.kept] == [1, 4]
        assert sending.stats() == Stats(made=4, sent=2, dropped=2, waiting=0)
        assert len(caplog.messages) == 1, "it is said once"


async def test_a_publisher_goes_on_and_ends_in_peace_whatever_was_recorded():
    async with Broker() as broker:
        publisher = AsyncPublisher("shop", node="n1", bootstrap=broker.bootstrap)
        await publisher.start()
        with publisher.request(["route=/\ud800", "route=/cart"]):
            publisher.gauge("queue", 10**400)
            publisher.count("sold", 10**30)
        await broker.until(lambda: broker.kept)
        publisher.record(0.01)
        stats = await publisher.close(STOP_WITHIN_S)
        seen = [decode(value) for value in broker.kept]
        assert (stats.sent, stats.dropped) == (len(seen), 0)
        assert sum(row.requests for row in seen) == 2
        assert publisher.refused == {"name": 1, "value": 1, "cut": 1}


class Vault:
    """Access that breaks in a way of its own, until it does not."""

    def __init__(self, failures: int) -> None:
        self._failures = failures

    def arguments(self) -> dict[str, str]:
        if self._failures:
            self._failures -= 1
            raise RuntimeError("the vault is sealed")
        return {}


async def test_an_error_of_no_kind_that_is_expected_is_said_and_not_the_end(caplog):
    async with Broker() as broker:
        sending = Sender(broker.bootstrap, access=Vault(FAILURES))
        sending.start()
        sending.put(next(rows()))
        await broker.until(lambda: broker.kept)
        await sending.stop(STOP_WITHIN_S)
    assert sending.stats() == Stats(made=1, sent=1, dropped=0, waiting=0)
    assert len([record for record in caplog.records if record.name == "tidegate.sdk"]) == FAILURES


@pytest.mark.usefixtures("short_of_patience")
async def test_sends_without_an_answer_leave_no_producer_behind():
    """Each left one that tried for ever to send its row: tasks and a connection for each ten seconds of a slow broker."""
    before = tasks()
    async with Broker() as broker:
        broker.silent = True
        sending = Sender(broker.bootstrap)
        sending.start()
        sending.put(next(rows()))
        for _ in range(FAILURES):
            broker.asked = 0
            await broker.until(lambda: broker.asked)
            assert theirs().count("Sender._sender_routine") == 1
            await broker.until(lambda: broker.connections == 1)
        await sending.stop(0)
        assert not theirs()
        await broker.until(lambda: not broker.connections)
        assert sending.stats() == Stats(made=1, sent=0, dropped=1, waiting=0)
    assert tasks() <= before


async def test_a_row_that_was_given_up_is_sent_again_and_arrives_once_the_broker_answers(monkeypatch):
    async with Broker() as broker:
        made, sending = rows(), Sender(broker.bootstrap)
        sending.start()
        broker.silent = True
        monkeypatch.setattr(sender, "SEND_TIMEOUT_S", SOON_S)
        sending.put(next(made))
        await broker.until(lambda: broker.asked >= FAILURES)
        monkeypatch.undo()
        broker.silent = False
        sending.put(next(made))
        await broker.until(lambda: len({decode(value).seq for value in broker.kept}) == 2)
        await sending.stop(STOP_WITHIN_S)
        assert sending.stats() == Stats(made=2, sent=2, dropped=0, waiting=0)
        assert not theirs()


@pytest.mark.parametrize("busy", ["sending", "starting"])
async def test_who_stops_in_the_middle_leaves_nothing_behind(busy):
    before = tasks()
    async with Broker() as broker:
        broker.silent, broker.deaf = busy != "starting", busy == "starting"
        sending = Sender(broker.bootstrap)
        sending.start()
        sending.put(next(rows()))
        await broker.until(lambda: broker.asked or broker.unheard)
        await sending.stop(0)
        assert not theirs()
        await broker.until(lambda: not broker.connections)
    assert tasks() <= before
