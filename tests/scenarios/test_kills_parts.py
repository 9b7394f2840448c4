"""The harness's own parts: what is drawn, a network that fails, a wall clock that is wrong."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.prove import kills as proof
from tests.prove.kit import Refuted
from tests.scenarios.kills import clocked
from tests.scenarios.kills.faults import STARTS, TAKES_OVER, Ends, Kind, draw
from tests.scenarios.kills.proxy import Fault, Proxy

from tidegate.broker.local import free_ports

QUESTION = b"x" * 1_000


@pytest.mark.parametrize("seed", range(50))
def test_five_rounds_have_every_fault_and_every_end(seed):
    rounds = draw(seed, 5)
    kinds = [[fault.kind for fault in one.faults] for one in rounds]
    assert sorted(one.ends for one in rounds) == sorted(Ends)
    assert Counter(kind for one in kinds for kind in one) == Counter(Kind)
    assert all(sum(kind in TAKES_OVER for kind in one) <= 1 for one in kinds)
    assert all(played.ends in STARTS for played, one in zip(rounds, kinds, strict=True) if Kind.KILL_MID_APPLY in one)


def test_a_seed_draws_the_same_again_and_longer_courses_begin_alike():
    assert draw(7, 5) == draw(7, 5) == draw(7, 12)[:5]
    assert len(draw(7, 12)) == 12
    assert draw(8, 5) != draw(7, 5)


def test_more_kills_of_the_leader_are_in_rounds_of_their_own():
    kills = [one for one in draw(3, 5, kills=3) if Kind.KILL_LEADER in [fault.kind for fault in one.faults]]
    assert len(kills) == 3


async def echo(reader, writer):
    with contextlib.suppress(ConnectionResetError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def proxy():
    """A proxy before a server that says what it hears."""
    here, behind = free_ports(2)
    server = await asyncio.start_server(echo, "127.0.0.1", behind)
    proxy = Proxy(here, behind)
    await proxy.start()
    yield proxy
    await proxy.stop()
    server.close()


async def asked(proxy):
    """Ask on a new connection; return what is answered before it ends, or all of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(QUESTION)
    try:
        return await reader.readexactly(len(QUESTION))
    except asyncio.IncompleteReadError as error:
        return error.partial
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()


async def test_without_a_fault_everything_arrives(proxy):
    assert await asked(proxy) == QUESTION


@pytest.mark.parametrize("most", [0, 300, 1_500])
async def test_connections_are_cut_after_some_bytes_until_it_is_healed(proxy, most):
    await proxy.break_it(Fault.CUT, most)
    assert len(await asked(proxy)) < len(QUESTION)
    assert proxy.hits == 1
    await proxy.heal()
    assert await asked(proxy) == QUESTION


async def test_half_open_nothing_comes_back_and_nobody_is_told_until_it_is_healed(proxy):
    await proxy.break_it(Fault.HALF_OPEN, 0)
    waiting = asyncio.create_task(asked(proxy))
    while not proxy.hits:  # noqa: ASYNC110 - the loop itself is the event
        await asyncio.sleep(0)
    assert not waiting.done()
    await proxy.heal()
    assert await waiting == b""
    assert await asked(proxy) == QUESTION


async def test_refused_nobody_gets_in_until_it_is_healed(proxy):
    await proxy.break_it(Fault.REFUSE, 0)
    with pytest.raises(ConnectionRefusedError):
        await asked(proxy)
    await proxy.heal()
    assert await asked(proxy) == QUESTION


async def test_what_is_delayed_arrives_whole_and_at_once_when_it_is_healed(proxy):
    await proxy.break_it(Fault.DELAY, 3_600)
    waiting = asyncio.create_task(asked(proxy))
    while not proxy.hits:  # noqa: ASYNC110 - the loop itself is the event
        await asyncio.sleep(0)
    await proxy.heal()
    assert await waiting == QUESTION


def test_a_clock_is_set_while_its_process_runs_and_monotonic_time_is_not(tmp_path):
    clock = tmp_path / "clock"
    told = "import time; print(time.time(), time.time_ns() // 1_000_000_000, time.monotonic())"
    text = (
        f"import sys, time; sys.path.insert(0, {str(Path(clocked.__file__).parent)!r}); from pathlib import Path; "
        "import clocked; "
        f"clocked.off_by(Path({str(clock)!r}), time.time, time.time_ns); {told}; "
        f"Path({str(clock)!r}).write_text('3600000'); {told}"
    )
    output = subprocess.run([sys.executable, "-c", text], capture_output=True, check=True, text=True, env=os.environ).stdout
    (right, right_s, before), (wrong, wrong_s, after) = (map(float, line.split()) for line in output.splitlines())
    assert abs(right - time.time()) < 600
    assert 3_600 <= wrong - right < 3_660
    assert 3_600 <= wrong_s - right_s <= 3_660
    assert 0 <= after - before < 60


def part(**changes):
    """What one installation of the proof came to, without a fault of its own."""
    return {
        **dict.fromkeys(proof.SUMMED, 0),
        "applied_changes": 7,
        "seed": 1,
        "played_s": 200,
        "deciders": 3,
        "nodes": 6,
        "rollouts": {"promoted": 2},
        "otherwise": [],
        "takeovers_ms": [9_000],
        "applied_after_ms": [700, 900],
        "faults": {kind.name: 1 for kind in Kind} | {"ROUND": 2},
        "findings": [],
    } | changes


def test_the_proof_sums_up_what_its_installations_came_to():
    found = proof.summed([part(), part(seed=2, takeovers_ms=[11_000])])
    assert (found["rounds"], found["applied_changes"], found["rollouts"], found["seeds"]) == (4, 14, {"promoted": 4}, [1, 2])
    assert found["takeover_ms"] == {"median": 10_000, "max": 11_000}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"findings": ["lost: something"]}, "1 findings: .*lost: something"),
        ({"takeovers_ms": [15_001]}, "a takeover took 15001 ms"),
        ({"faults": {"ROUND": 2, "CUT": 1}}, "never happened: DELAY, FILL_DISK"),
    ],
)
def test_the_proof_is_refuted_by_any_installation(changes, sentence):
    with pytest.raises(Refuted, match=sentence):
        proof.summed([part(**changes)])
