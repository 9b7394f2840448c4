"""A fleet that runs OpenTelemetry and needs no code of ours: its releases are judged on what the stock SDK exports, on real Kafka
and in real processes.
"""

import contextlib
from pathlib import Path

import pytest
from tests.scenarios.kit import System

from tidegate.broker.local import free_ports
from tidegate.demo.fleet import TIDEGATE
from tidegate.runtime.supervise import Program
from tidegate.wire.decisions import DecisionKind, Result

pytestmark = [pytest.mark.kafka, pytest.mark.scenario, pytest.mark.thorough]

SERVERS = 4
WITHIN_S = 90
PROGRAM = '''"""Knows OpenTelemetry and nothing of telemetry of ours; takes its socket, as under systemd."""

import random
import time
from http.server import BaseHTTPRequestHandler

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

from tidegate.sdk import serve_http

provider = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])
meter = provider.get_meter("shop")
durations = meter.create_histogram("http.server.request.duration", unit="s")
# As instrumentations of the runtime have it: it is there before the first request.
meter.create_observable_gauge("process.uptime", [lambda _: [Observation(time.process_time())]], unit="s")


class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        began = time.perf_counter()
        time.sleep(random.uniform(0.002, 0.01))
        status = 500 if random.random() < {error_ratio} else 200
        self.send_response(status)
        self.send_header("X-Version", "{version}")
        self.send_header("X-Checkout", "classic")
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()
        durations.record(time.perf_counter() - began, {{"http.request.method": "GET", "http.response.status_code": status}})

    def log_message(self, *_):
        pass


serve_http(Shop)
provider.shutdown()
'''


class OpenTelemetryFleet(System):
    """Servers that export every so often to a bridge; v1 installed, under load."""

    def __init__(self, folder: Path, bootstrap: str, interval_ms: int) -> None:
        super().__init__(folder, SERVERS, bootstrap)
        (self._port,) = free_ports(1)
        self._environment |= {
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://127.0.0.1:{self._port}/v1/metrics",
            "OTEL_METRIC_EXPORT_INTERVAL": str(interval_ms),
        }

    def _programs(self):
        yield from super()._programs()
        command = (*TIDEGATE, "--home", str(self._home.folder), "bridge")
        yield Program(name="bridge", command=command, environment={"TIDEGATE__BRIDGE__PORT": str(self._port)})

    def artifact(self, version: str, *, error_ratio: float = 0.0, start_s: float = 0.0) -> Path:
        path = self.folder / f"{version}.py"
        path.write_text(PROGRAM.format(version=version, error_ratio=error_ratio))
        return path


def plan(bake: str) -> dict:
    return {
        "stages": [{"setNodes": 1, "bake": bake, "minRequests": 100}, {"setWeight": 100, "bake": "2s", "minRequests": 100}],
        "guardrails": [{"metric": "errorRatio", "max": 0.05, "of": "2/3", "minRequests": 20}],
    }


@pytest.mark.parametrize("interval_ms", [1_000, 5_000])
async def test_releases_are_promoted_and_rolled_back_on_what_the_stock_sdk_exports(private_kafka, tmp_path, say, interval_ms):
    async with contextlib.AsyncExitStack() as stack:
        (tmp_path / "fleet").mkdir()
        fleet = OpenTelemetryFleet(tmp_path / "fleet", private_kafka.bootstrap, interval_ms)
        stack.push_async_callback(fleet.stop)
        await fleet.start()

        await fleet.roll_out(fleet.artifact("v2"), plan("8s"))
        await fleet.until(lambda: fleet.result is not None, WITHIN_S, "the end of a good release")
        assert fleet.result is Result.PROMOTED
        pauses = fleet.count(DecisionKind.PAUSE)

        await fleet.roll_out(fleet.artifact("v3", error_ratio=0.3), plan("60s"))
        await fleet.until(lambda: fleet.count(DecisionKind.ROLLBACK) == 1, WITHIN_S, "the rollback of a bad one")
        rolled_back_ms, record = next((at, one) for at, one in fleet.of_rollout() if one.kind is DecisionKind.ROLLBACK)
        bad_s = fleet.load.versions["v3"].first_error_s
        say(
            f"every {interval_ms} ms: first bad answer to rollback on the control topic {rolled_back_ms / 1000 - bad_s:.1f} s "
            f"({record.reason}); the good one was paused {pauses} times"
        )
        await fleet.until(lambda: fleet.result is not None, WITHIN_S, "the end of the rollback")
        assert fleet.result is Result.ROLLED_BACK
