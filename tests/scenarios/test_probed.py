"""A service that nobody uses and that sends no telemetry, on real Kafka and in real processes: its releases are judged on probes
alone (I2).
"""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.scenarios.conftest import SERVERS
from tests.scenarios.kit import System

from tidegate.demo.fleet import Fleet
from tidegate.wire.codec import decode
from tidegate.wire.decisions import DecisionKind, Result
from tidegate.wire.judgement import Verdict
from tidegate.wire.reasons import Reason

pytestmark = [pytest.mark.kafka, pytest.mark.scenario, pytest.mark.asyncio(loop_scope="module")]

WITHIN_S = 60
PROGRAM = '''"""Answers; knows nothing of telemetry."""

import time
from http.server import BaseHTTPRequestHandler

from tidegate.sdk import serve_http


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        time.sleep({delay_s})
        self.send_response({status})
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


serve_http(Quiet)
'''
PLAN = {
    "stages": [{"setNodes": 1, "bake": "2s", "minRequests": 40}, {"setWeight": 100, "bake": "1s", "minRequests": 20}],
    "guardrails": [{"metric": "p95", "maxRatioToControl": 3, "of": "2/3"}],
    "probe": {"http": "/health", "interval": "100ms", "counts": True},
}


class Quiet(System):
    """Four servers, the fewest of which one can be a control (B2); v1 installed and probed, no load."""

    async def start(self) -> None:
        await Fleet.start(self)
        self.begin_to_follow()
        await self.until(lambda: len(self.watch.running) == len(self.nodes), WITHIN_S, "reports of all node agents")
        first = {"stages": [{"setWeight": 100, "bake": "1s", "minRequests": 0}], "watch": "0s", "probe": PLAN["probe"]}
        await self.roll_out(self.quiet("v1"), first)
        await self.until(lambda: self.result is Result.PROMOTED, WITHIN_S, "the first install")

    def quiet(self, version: str, *, status: int = 200, delay_s: float = 0.01) -> Path:
        """Write the program of a version."""
        path = self.folder / f"{version}.py"
        path.write_text(PROGRAM.format(status=status, delay_s=delay_s))
        return path

    async def verdicts(self) -> list[Verdict]:
        reader = await self.log.reader(["verdicts"])
        found = [decode(one.value, Verdict) for one in await reader.read_to_end()]
        await reader.close()
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quiet(broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quiet]:
    async with contextlib.AsyncExitStack() as stack:
        system = Quiet(tmp_path_factory.mktemp("quiet"), SERVERS, broker.bootstrap)
        stack.push_async_callback(system.stop)
        await system.start()
        yield system


async def test_a_good_version_of_a_service_that_nobody_uses_is_promoted_by_its_probes(quiet, say):
    await quiet.roll_out(quiet.quiet("v2"), PLAN)
    began_ms = quiet.decisions[-1][0]
    await quiet.until(lambda: quiet.result is not None, WITHIN_S, "the end of the rollout")
    assert quiet.result is Result.PROMOTED

    promoted_ms, promoted = next((at, one) for at, one in quiet.of_rollout() if one.kind is DecisionKind.PROMOTE)
    done_ms = quiet.decisions[-1][0]
    rollout = promoted.state.rollout
    mine = [one for one in await quiet.verdicts() if one.rollout == rollout]
    say(
        f"promoted by probes alone: to the second stage {(promoted_ms - began_ms) / 1000:.1f} s after its plan, "
        f"done after {(done_ms - began_ms) / 1000:.1f} s; {mine[-1].canary_probes} probes in the last stage, "
        f"{sum(one.canary_probe_errors for one in mine)} errors"
    )
    assert promoted.facts["verdict_reason"] == Reason.CLEAN_ON_PROBES
    assert promoted.facts["canary_requests"] >= 40
    assert max(one.canary_probe_errors + one.control_probe_errors for one in mine) == 0, "no swap and no restart is an error"
    told = await quiet.command("rollout", "explain", "shop")
    assert "requests were probes (GET /health)" in told


@pytest.mark.parametrize(
    ("version", "behaviour", "why"),
    [
        ("v500", {"status": 500}, "every answer is a 500"),
        pytest.param("slow", {"delay_s": 0.1}, "ten times as slow", marks=pytest.mark.thorough),
    ],
)
async def test_a_bad_version_of_a_service_that_nobody_uses_is_rolled_back_by_its_probes(quiet, say, version, behaviour, why):
    await quiet.roll_out(
        quiet.quiet(version, **behaviour), PLAN | {"stages": [PLAN["stages"][0] | {"bake": "60s"}, PLAN["stages"][1]]}
    )
    await quiet.until(lambda: quiet.result is not None, WITHIN_S, "the end of the rollback")
    assert quiet.result is Result.ROLLED_BACK

    back = next(one for _, one in quiet.of_rollout() if one.kind is DecisionKind.ROLLBACK)
    verdict_ms = quiet.watch.verdict_ms(back.state.rollout)
    (bad_ms,) = quiet.watch.reported_ms[version].values()
    command_ms, back_ms = quiet.watch.retreat(verdict_ms).at_ms, quiet.watch.back_ms("v2", verdict_ms)
    say(
        f"rolled back by probes alone, {why}: after the canary was ready verdict {(verdict_ms - bad_ms) / 1000:.1f} s, "
        f"command {(command_ms - bad_ms) / 1000:.1f} s, all nodes back {(back_ms - bad_ms) / 1000:.1f} s: {back.message}"
    )
    assert "Probes (GET /health): " in back.message
    failed = next(one for one in await quiet.verdicts() if one.rollout == back.state.rollout and one.action is not None)
    assert failed.slice == "probe"
    assert failed.canary_probes > 0
    assert failed.control_probe_errors == 0
    assert sum(kpi.requests for second in quiet.kpis.seconds.values() for kpi in second.values()) == 0, "nobody asked it anything"
