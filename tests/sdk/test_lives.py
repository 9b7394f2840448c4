"""Many processes of one service on one node are many lives (A1): their rows add up, whoever started or forked them.

All workers of a server took the boot that their node agent gave the service, and counted rows from 1. The judge took all but one
worker's rows for repeats, and a worker that came again was not heard for as long as the one before it had run.
"""

import asyncio
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from tests.kpi.rows import PARTITIONS, T0, idle, record, row
from tests.sdk.broker import Broker

from tidegate.judge import JudgeState, step
from tidegate.kpi.columns import RowWriter
from tidegate.sdk import AsyncPublisher, Identity, Publisher, Recorder, lookups
from tidegate.sdk.lookups import Lookups
from tidegate.wire.judgement import Kpi
from tidegate.wire.names import is_name
from tidegate.wire.nodeseconds import CohortMembers, Context
from tidegate.wire.telemetry import ServiceState, Source, Telemetry, decode

ENVIRONMENT = {"TIDEGATE_SERVICE": "shop", "TIDEGATE_NODE": "n1", "TIDEGATE_VERSION": "v1", "TIDEGATE_BOOT": "18c2f-a1b2c3-1"}
WORKERS = 3
WITHIN_S = 60.0


def worker(second: int = 0, **known: str) -> Recorder:
    return Recorder(Identity.of(ENVIRONMENT, **known), T0 + second * 1_000)


def spoken(recorder: Recorder, second: int, requests: int, errors: int = 0) -> Telemetry:
    """Return the row of one second with some requests."""
    for number in range(requests):
        recorder.record(0.01, error=number < errors, slices=["route=/cart"])
    recorder.count("sold", requests)
    return recorder.cut(T0 + (second + 1) * 1_000)


def judged(records: Iterable[object]) -> tuple[JudgeState, list[Kpi]]:
    state, found = JudgeState(), []
    for one in records:
        found += step(state, one, T0 + 1_000_000).kpis
    return state, [kpi for kpi in found if kpi.window_s == 1]


def requests_by_second(kpis: Sequence[Kpi]) -> dict[int, int]:
    return {(kpi.start_ms - T0) // 1_000: kpi.requests for kpi in kpis if kpi.requests}


@given(st.text(st.sampled_from("abc.-_9"), max_size=127).map(lambda rest: f"b{rest}"), st.integers(2, 5))
def test_the_boot_of_a_life_is_a_name_that_begins_as_the_agents_and_is_nobody_elses(boot, lives):
    identity = Identity(service="shop", node="n1", version="v1", boot=boot)
    boots = [Recorder(identity, 0).boot for _ in range(lives)]
    assert len({*boots}) == lives
    assert all(is_name(one) and one.rpartition(".")[0] == boot[:119] for one in boots)


@given(st.lists(st.lists(st.integers(0, 20), min_size=4, max_size=4), min_size=1, max_size=8))
def test_the_workers_of_one_environment_all_count_in_full(traffic):
    workers = [worker() for _ in traffic]
    rows = [
        [spoken(one, second, mine[second], errors=mine[second] // 2) for one, mine in zip(workers, traffic, strict=True)]
        for second in range(4)
    ]
    state, kpis = judged([*(record(part, second + 1) for second, part in enumerate(rows)), *idle(9, 5)])
    totals = [sum(mine[second] for mine in traffic) for second in range(4)]
    assert [kpi.requests for kpi in kpis[:4]] == totals
    assert [kpi.errors for kpi in kpis[:4]] == [sum(mine[second] // 2 for mine in traffic) for second in range(4)]
    assert [kpi.values["counter.sold"] for kpi in kpis[:4]] == totals
    assert {kpi.nodes for kpi in kpis[:4]} == {1}
    assert (state.tally.accepted, state.tally.duplicate) == (4 * len(traffic), 0)


def test_what_is_sent_twice_by_one_worker_counts_once_still():
    rows = [spoken(one, 0, 5) for one in (worker(), worker())]
    state, kpis = judged([record([*rows, *rows], 1), *idle(4, 2)])
    assert (requests_by_second(kpis), state.tally.duplicate) == ({0: 10}, 2)


def test_a_worker_that_comes_again_counts_at_once():
    first, other = worker(), worker()
    rows = [[spoken(first, second, 5), spoken(other, second, 7)] for second in range(30)]
    again = worker(second=30)
    rows += [[spoken(again, second, 5), spoken(other, second, 7)] for second in range(30, 33)]
    _, kpis = judged([*(record(part, second + 1) for second, part in enumerate(rows)), *idle(36, 34)])
    assert requests_by_second(kpis) == dict.fromkeys(range(33), 12)


def test_the_publishers_of_one_process_are_lives_of_their_own(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    one, other = Publisher(), AsyncPublisher()
    assert one.identity.boot == other.identity.boot == ENVIRONMENT["TIDEGATE_BOOT"]
    rows = [publisher._recorder.cut(T0) for publisher in (one, other)]
    assert len({row.boot for row in rows}) == 2


def test_agents_rows_other_sources_and_cohorts_do_not_ask_for_the_boot_of_the_start():
    """A5, A6, C6: the context says who is compared, the agent's row who is alive, node and version which source counts."""
    cohorts = (
        CohortMembers(name="canary", version="v2", nodes=("n1",)),
        CohortMembers(name="control", version="v1", nodes=("n2",)),
    )
    context = Context(
        subject="svc/shop", service="shop", epoch=1, generation=1, rest_version="v1", cohorts=cohorts, placement="p"
    )
    workers = [worker(node=node, version=version) for node, version in (("n1", "v2"), ("n2", "v1")) for _ in range(WORKERS)]
    records: list[object] = [context]
    for second in range(3):
        rows = [spoken(one, second, 10 + second) for one in workers]
        for node, version in (("n1", "v2"), ("n2", "v1")):
            said = {"node": node, "version": version, "second": second, "seq": second + 1}
            rows.append(row(**said, boot="18c2f-a1b2c3", source=Source.AGENT, state=ServiceState.READY, exits=1, changed_ms=T0))
            rows.append(row(**said, boot=f"{ENVIRONMENT['TIDEGATE_BOOT']}.scrape.life", source=Source.SCRAPE, requests=500))
        records.append(record(rows, second + 1))
    state, kpis = judged([*records, *idle(6, 4)])
    for cohort in ("canary", "control"):
        mine = [kpi for kpi in kpis if kpi.cohort == cohort]
        assert requests_by_second(mine) == {second: WORKERS * (10 + second) for second in range(3)}
        assert {(kpi.nodes, kpi.coverage) for kpi in mine[:3]} == {(1, 1.0)}
    seen = state.subjects["svc/shop"]
    assert state.tally.transition == 0
    assert seen.watches["n1"].exits == 1


async def run(program: str, *words: str) -> tuple[list[Telemetry], str]:
    """Run a program as a node agent starts it; return the rows that arrived and what it said."""
    roots = os.pathsep.join(entry for entry in sys.path if entry)
    async with Broker() as broker:
        address = broker.bootstrap.replace("127.0.0.1", "localhost")
        told = {"TIDEGATE_BOOTSTRAP": address, "PYTHONPATH": roots, "PYTHONWARNINGS": "ignore"}
        service = await asyncio.create_subprocess_exec(
            *(sys.executable, program, *words), env=os.environ | ENVIRONMENT | told, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(WITHIN_S):
            said, _ = await service.communicate()
        assert service.returncode == 0
        return [decode(value) for value in broker.kept], said.decode()


@pytest.mark.parametrize("made", ["before", "after"])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_every_request_of_a_server_that_forks_counts_once(kind, made):
    rows, _ = await run(str(Path(__file__).with_name("forking.py")), kind, made, str(WORKERS))
    served = Counter[str]()
    for one in rows:
        served[one.boot] += one.requests
    assert sorted(served.values()) == [1, *range(1, WORKERS + 1)]
    assert {boot.rpartition(".")[0] for boot in served} == {ENVIRONMENT["TIDEGATE_BOOT"]}
    assert {one.boot for one in rows if one.seq == 1} == {*served}
    assert judged_total(rows) == served.total()


ASKING = """
import os, socket, threading, time
from tidegate.sdk import Publisher

held, asked, real = threading.Lock(), threading.Event(), socket.getaddrinfo

def slow(*args, **named):
    with held:  # as the resolver of the C library holds its own
        asked.set()
        time.sleep(0.3)
        return real(*args, **named)

socket.getaddrinfo = slow
with Publisher() as telemetry:
    telemetry.record(0.01)
    assert asked.wait(30.0)
    if os.fork() == 0:
        telemetry.record(0.01)
        telemetry.close(5.0)
        os._exit(0)
    assert os.wait()[1] == 0
"""


async def test_a_fork_waits_until_the_brokers_address_is_known(tmp_path: Path):
    """The child had the locks of the parent's question, held by nobody: its telemetry never began."""
    program = tmp_path / "service.py"
    program.write_text(ASKING)
    rows, _ = await run(str(program))
    assert len({one.boot for one in rows}) == 2


async def test_a_name_server_that_hangs_holds_up_one_fork(monkeypatch):
    monkeypatch.setattr(lookups, "FORK_WAITS_MOST_S", 0.05)
    asked, answer = threading.Event(), threading.Event()

    def hang():
        asked.set()
        answer.wait(WITHIN_S)

    with Lookups() as executor:
        asking = executor.submit(hang)
        assert asked.wait(WITHIN_S)
        assert not Lookups.hangs
        for _ in range(2):
            forked()
            assert Lookups.hangs
        answer.set()
        asking.result(WITHIN_S)
        forked()
        assert not Lookups.hangs


def forked() -> None:
    if os.fork() == 0:
        os._exit(0)
    assert os.wait()[1] == 0


def test_names_are_asked_where_forks_know_of_it_whatever_loop_a_service_has_chosen(monkeypatch):
    asked = []
    monkeypatch.setattr(Lookups, "submit", lambda _, ask, *args, **named: asked.append(ask) or _done(ask(*args, **named)))
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    try:
        with Publisher("shop", node="n1", version="v1", bootstrap="localhost:1") as telemetry:
            telemetry.close(0.5)
    finally:
        asyncio.set_event_loop_policy(before)
    assert asked


def _done(value):
    future = Future()
    future.set_result(value)
    return future


IMPORTS = """
import sys
from tidegate.sdk import Publisher
telemetry = Publisher()
before = {*sys.modules}
telemetry.start()
telemetry.record(0.01)
telemetry.close(30.0)
print(*{*sys.modules} - before)
"""


async def test_the_thread_of_a_publisher_imports_nothing(tmp_path: Path):
    """A fork in the middle of an import leaves half a module to the child, in which telemetry never began."""
    program = tmp_path / "service.py"
    program.write_text(IMPORTS)
    rows, said = await run(str(program))
    assert [one.requests for one in rows] == [1]
    assert said.split() == []


def judged_total(rows: Sequence[Telemetry]) -> int:
    """Return the requests that the judge's panes come to, of rows that were appended as soon as they were made."""
    writer, state, requests = RowWriter(), JudgeState(), 0
    for one in rows:
        writer.add(one, one.start_ms + one.length_ms)
    last_ms = max(one.start_ms + one.length_ms for one in rows)
    for after_ms in range(0, 6_000, 1_000):
        found = step(state, writer.flush(dict.fromkeys(range(PARTITIONS), last_ms + after_ms)), last_ms + after_ms).kpis
        requests += sum(kpi.requests for kpi in found if kpi.window_s == 1)
    return requests
