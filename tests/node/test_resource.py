"""What OpenTelemetry's SDKs are told of a life, read by a stock one, and known again by the bridge."""

from pathlib import Path

import pytest
from opentelemetry.sdk.resources import OTELResourceDetector
from tests.node.kit import made
from tests.node.test_process import Bench

from tidegate.node.executor import Launch
from tidegate.node.executors.resource import resource_of
from tidegate.otlp.identity import speaker_of
from tidegate.reconcile.target import CohortName
from tidegate.wire.plans import Artifact

OURS = {
    "tidegate.service": "shop",
    "tidegate.node": "n1",
    "tidegate.version": "v2",
    "tidegate.boot": "life-1",
    "tidegate.cohort": "canary",
}
ARTIFACT = Artifact(version="v2", sha256="0" * 64)


def launch(rollout: str = "svc/shop#r 1,=%") -> Launch:
    return Launch(service="shop", artifact=ARTIFACT, boot="life-1", cohort=CohortName.CANARY, rollout=rollout)


@pytest.mark.parametrize(
    ("what", "own", "expected"),
    [
        ("nothing of its own", {}, {"service.name": "shop", "service.version": "v2", "deployment.id": "svc/shop#r 1,=%"}),
        (
            "it says some things itself",
            {"OTEL_RESOURCE_ATTRIBUTES": "service.version=abc, team=a%20b,deployment.id=d"},
            {"service.name": "shop", "service.version": "abc", "team": "a b", "deployment.id": "d"},
        ),
        (
            "a name of its own",
            {"OTEL_SERVICE_NAME": "cart"},
            {"service.name": "cart", "service.version": "v2", "deployment.id": "svc/shop#r 1,=%"},
        ),
        (
            "what only an agent may say",
            {"OTEL_RESOURCE_ATTRIBUTES": "tidegate.node=x,tidegate.version=y"},
            {"service.name": "shop", "service.version": "v2", "deployment.id": "svc/shop#r 1,=%"},
        ),
    ],
)
def test_a_stock_sdk_reads_both_what_the_service_says_and_who_it_is(monkeypatch, what, own, expected):
    told = own | resource_of({"TIDEGATE_NODE": "n1"} | own, launch())
    for name in ("OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    found = dict(OTELResourceDetector().detect().attributes)
    assert found == OURS | expected, what
    speaker = speaker_of(found)
    assert (speaker.service, speaker.node, speaker.version, speaker.cohort) == ("shop", "n1", "v2", "canary")
    assert speaker.labels == {"deployment.id": expected["deployment.id"]}


def test_without_a_rollout_there_is_no_deployment():
    assert "deployment.id" not in resource_of({}, launch(""))["OTEL_RESOURCE_ATTRIBUTES"]


def environment_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/environ").read_text().split("\0")


async def test_a_process_is_told_and_keeps_what_it_was_started_with(tmp_path):
    bench = Bench(tmp_path, env={"OTEL_RESOURCE_ATTRIBUTES": "team=a"})
    async with bench.executor() as executor:
        artifact = made(tmp_path, "v2")
        await executor.fetch(artifact, ())
        await executor.swap(Launch(service="shop", artifact=artifact, boot="b1", cohort=CohortName.CONTROL, rollout="r1"))
        (pid,) = bench.processes()
        (attributes,) = [entry for entry in environment_of(pid) if entry.startswith("OTEL_RESOURCE_ATTRIBUTES=")]
        assert attributes.startswith("OTEL_RESOURCE_ATTRIBUTES=team=a,tidegate.service=shop,")
        assert "tidegate.cohort=control" in attributes
        assert attributes.endswith("deployment.id=r1")
