"""From a flag's spec to a proposal on a real broker: a service tells who saw what, the worker is killed, the sums are exact."""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.track import TrackingEventDetails
from tests.cli.test_experiment import FAST
from tests.cli.test_kafka import running
from tests.cli.test_up import Shell
from tests.experiments.kit import TRIAL, saw

from tidegate.broker import Connection, KafkaLog, delete_topics
from tidegate.sdk.flags import FlagSettings, TidegateProvider
from tidegate.wire.codec import encode
from tidegate.wire.experiments import sums_of
from tidegate.wire.topics import BY_NAME

pytestmark = pytest.mark.kafka
WITHIN_S = 60.0
PEOPLE = 900
LOPSIDED = 60
"""Users of another experiment, all of one variant."""
WORKER = ("worker", "--instance", "one", "experiment")


class Shop:
    """A service whose users see a variant and sometimes buy; what must come of it is counted beside."""

    def __init__(self, told: FlagSettings) -> None:
        self.provider = TidegateProvider(told)
        api.set_provider_and_wait(self.provider, "shop")
        self.client = api.get_client("shop")
        self.users = {"off": 0, "on": 0}
        self.buyers = {"off": 0, "on": 0}
        self.paid = {"off": 0.0, "on": 0.0}

    def serve(self, first: int, last: int) -> None:
        for number in range(first, last):
            kim = EvaluationContext(f"user-{number}")
            variant = "on" if self.client.get_boolean_value("fast", False, kim) else "off"
            self.client.get_boolean_value("fast", False, kim)
            self.users[variant] += 1
            if number % 3 == 0:
                self.client.track("bought", kim)
                self.client.track("paid", kim, TrackingEventDetails(float(number)))
                self.buyers[variant] += 1
                self.paid[variant] += number

    def lost(self) -> int:
        """Events that did not reach the topic."""
        stats = self.provider.stats()
        return sum(self.users.values()) + 2 * sum(self.buyers.values()) - stats.sent


async def counted(log: KafkaLog, users: int) -> None:
    """Wait until so many users stand on the topic."""
    reader = await log.reader(["experiments"])
    parts: dict[int, int] = {}
    try:
        async with asyncio.timeout(WITHIN_S):
            while sum(parts.values()) < users:
                for record in await reader.poll(1.0):
                    found = sums_of(record.value or b"")
                    if found.trial.name == "checkout":
                        parts[found.partition] = sum(arm.users for arm in found.arms.values())
    finally:
        await reader.close()


async def alarmed(log: KafkaLog) -> None:
    """Wait until an alarm stands on the topic."""
    reader = await log.reader(["alarms"])
    try:
        async with asyncio.timeout(WITHIN_S):
            while not await reader.poll(1.0):
                pass
    finally:
        await reader.close()


@contextlib.asynccontextmanager
async def killed(shell: Shell) -> AsyncIterator[None]:
    """A worker that is killed at the end."""
    worker = await shell.start(*WORKER)
    try:
        yield
    finally:
        worker.kill()
        await worker.communicate()


async def test_sums_are_exact_though_the_worker_is_killed_in_the_middle(tmp_path: Path, kafka: str, say) -> None:
    prefix = f"exp{os.getpid()}."
    shell, log = Shell(tmp_path, kafka), KafkaLog(Connection(kafka, prefix), client_id="test")
    try:
        assert (await shell.type("init", "--nodes", "1", "--prefix", prefix, "--publish")).code == 0
        (tmp_path / "fast.yaml").write_text(FAST)
        async with running(shell, ("decide",)):
            done = await shell.type("flag", "set", "web/fast", "-f", str(tmp_path / "fast.yaml"), "--reason", "is it faster?")
            assert (done.code, done.err) == (0, "")
            root = shell.home / "keys" / "root.json"
            told = FlagSettings(
                flag_set="web", root=root, bootstrap=kafka, prefix=prefix, service="shop", node="n1", wait_s=WITHIN_S
            )
            shop = await asyncio.to_thread(Shop, told)
        async with running(shell, WORKER):  # ended cleanly: what it has counted stands in checkpoints
            shop.serve(0, PEOPLE // 3)
            await counted(log, PEOPLE // 3)
        async with killed(shell):
            shop.serve(PEOPLE // 3, 2 * PEOPLE // 3)
            await counted(log, PEOPLE // 3 + 1)
        began_s = time.monotonic()
        shop.serve(2 * PEOPLE // 3, PEOPLE)
        for number in range(LOPSIDED):
            exposure = saw(number, "on", trial=replace(TRIAL, name="basket"), generation=1_000)
            await log.append("exposures", exposure.user, encode(exposure))
        async with running(shell, WORKER):
            await counted(log, PEOPLE)
            again_s = time.monotonic() - began_s
            await alarmed(log)
            fires = await shell.type("alarm", "list", "-o", "json")
        # What the last users did came behind them; the worker has told of it at its end.
        shown = await shell.type("experiment", "status", "checkout", "-o", "json")
        assert (shown.code, shown.err, shop.lost()) == (0, "", 0)
        (alarm,) = json.loads(fires.out)
        assert (alarm["name"], alarm["labels"]["experiment"]) == ("experiment_mismatch", "basket")
        found = json.loads(shown.out)
        rows = {row["variant"]: row["users"] for row in found["variants"]}
        assert (rows, found["doubles"], found["refused"]) == (shop.users, 0, 0)
        bought, paid, _ = found["metrics"]
        assert (bought["control_mean"], bought["mean"]) == tuple(shop.buyers[one] / shop.users[one] for one in ("off", "on"))
        assert (paid["control_mean"], paid["mean"]) == tuple(shop.paid[one] / shop.users[one] for one in ("off", "on"))
        assert (found["outcome"], found["reason"]) == ("keep_running", "too_short")
        say(f"{PEOPLE} users of an experiment, its worker killed: all counted {again_s:.1f} s after the kill")
    finally:
        await log.close()
        await asyncio.to_thread(api.clear_providers)
        await delete_topics(Connection(kafka, prefix), tuple(BY_NAME))
