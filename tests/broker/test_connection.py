import asyncio
import random
import socket
from collections import Counter

import pytest
from structlog.testing import capture_logs

from tidegate.broker import Connection, KafkaLog, connection, knock, patience
from tidegate.broker.client import RETRY_FIRST_S as MANY_RETRY_FIRST_S
from tidegate.broker.client import RETRY_MOST_S as MANY_RETRY_MOST_S
from tidegate.broker.connection import Backoff
from tidegate.broker.mock import MockBroker
from tidegate.broker.patience import patiently
from tidegate.ports import SendUnknown


@pytest.fixture
def nowhere():
    """An address where nobody listens, kept free while the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield Connection(f"127.0.0.1:{taken.getsockname()[1]}")


async def test_an_outage_is_one_warning_and_its_end_one_line(monkeypatch, nowhere):
    monkeypatch.setattr(patience, "RETRY_FIRST_S", 0.001)
    failures = [OSError("refused"), TimeoutError(), OSError("refused")]

    async def attempt() -> str:
        if failures:
            raise failures.pop()
        return "there"

    with capture_logs() as said:
        assert await patiently("reading", nowhere, attempt) == "there"
    assert [(line["log_level"], line["event"]) for line in said if line["log_level"] != "debug"] == [
        ("warning", "broker does not answer"),
        ("info", "broker answers"),
    ]
    assert said[0]["bootstrap"] == nowhere.bootstrap


async def test_waits_grow_are_shaken_and_stay_within_five_seconds(monkeypatch, nowhere):
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def attempt() -> None:
        if len(waits) < 100:
            raise OSError

    monkeypatch.setattr(patience.asyncio, "sleep", sleep)
    await patiently("reading", nowhere, attempt)
    assert waits[0] <= 0.2
    assert 3.5 <= min(waits[50:]) < max(waits[50:]) <= 5


@pytest.mark.parametrize("away_s", [20, 60, 600])
def test_five_hundred_that_lost_one_broker_come_back_spread_over_22_seconds(monkeypatch, away_s):
    """No more than 50 in any second."""
    monkeypatch.setattr(connection, "random", random.Random(7))
    back_s = [_back_s(away_s) for _ in range(500)]
    assert max(back_s) <= MANY_RETRY_MOST_S
    assert max(Counter(int(at) for at in back_s).values()) <= 50


def _back_s(away_s: float) -> float:
    """Return how long after the broker's return one agent tries."""
    backoff, now_s = Backoff(MANY_RETRY_FIRST_S, MANY_RETRY_MOST_S), 0.0
    while now_s < away_s:
        now_s += backoff.grow()
    return now_s - away_s


async def test_a_mistake_is_no_outage(nowhere):
    async def attempt() -> None:
        raise KeyError("mistake")

    with pytest.raises(KeyError):
        await patiently("reading", nowhere, attempt)


async def test_without_a_broker_every_send_is_unknown_in_time_and_one_warning_says_why(nowhere):
    log = KafkaLog(nowhere, client_id="test", send_timeout_s=0.2)
    with capture_logs() as said:
        for _ in range(3):
            with pytest.raises(SendUnknown, match="plans"):
                await log.append("plans", None, b"")
        await log.close()
    assert [line["event"] for line in said if line["log_level"] == "warning"] == ["broker does not answer"]
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("bootstrap", ["127.0.0.1:99092", "127.0.0.1:²", "127.0.0.1:", ""])
async def test_who_knocks_at_what_is_no_address_is_told_so(bootstrap):
    problem = await knock(Connection(bootstrap))
    assert problem is not None
    assert "is no address of a broker" in problem.what


async def test_a_start_is_nowhere_else_but_at_an_edge(nowhere):
    log = KafkaLog(nowhere, client_id="test")
    with pytest.raises(ValueError, match="earliest, latest or recent"):
        await log.reader(["plans"], start="yesterday")


@pytest.mark.parametrize("one_of_many", [False, True])
async def test_the_mock_is_enough_for_a_first_look(one_of_many):
    mock = MockBroker()
    log = KafkaLog(Connection(mock.bootstrap), client_id="test", one_of_many=one_of_many)
    await log.append("plans", "svc/shop", b"plan", headers={"ce_id": b"x"})
    reader = await log.reader(["plans"])
    (record,) = await reader.read_to_end()
    assert (record.topic, record.key, record.value) == ("plans", "svc/shop", b"plan")
    assert (record.headers["ce_id"], record.headers["ce_type"]) == (b"x", b"dev.tidegate.plan.v1")
    await reader.close()
    await log.close()
    await mock.stop()
