"""A simulated server: its disk when its agent dies in a write, and versions that are what their truth says."""

from random import Random

import pytest

from tidegate.node.executor import FetchFailed, Launch, StartFailed
from tidegate.reconcile.actions import Running
from tidegate.wire.plans import Artifact
from tidegate.world.machine import Machine, MachineDisk, MachineExecutor, Truth
from tidegate.world.process import Died, End, Process
from tidegate.world.timeline import Timeline

FINE = Truth()
OLD, NEW = b"old bytes", b"new bytes"


class Bench:
    def __init__(self, truth: Truth = FINE, seed: int = 1) -> None:
        self.timeline = Timeline(0)
        self.process = Process(self.timeline, "n1.1", Random(seed))
        self.machine = Machine("n1", lambda _: truth)
        self.disk = MachineDisk(self.machine, self.process)
        self.executor = MachineExecutor(self.machine, self.process)
        self.faults: list[BaseException] = []

    def do(self, work) -> None:
        async def main() -> None:
            try:
                await work
            except (StartFailed, FetchFailed) as fault:
                self.faults.append(fault)

        self.process.begin(main())
        self.timeline.run_until(self.timeline.now_ms + 10_000)


def artifact(version: str) -> Artifact:
    return Artifact(version=version, sha256="a" * 64)


def launch(version: str) -> Launch:
    return Launch(service="shop", artifact=artifact(version), boot="b")


def test_an_agent_that_dies_in_a_write_leaves_old_new_or_torn_bytes():
    left = set()
    for seed in range(40):
        bench = Bench(seed=seed)
        bench.disk.write("a", OLD)
        bench.process.light(1, End.KILL)
        with pytest.raises(Died):
            bench.disk.write("a", NEW)
        left.add(bench.machine.files["a"])
    assert left == {OLD, NEW, NEW[: len(NEW) // 2]}


def test_a_full_disk_takes_nothing():
    bench = Bench()
    bench.machine.full = True
    with pytest.raises(OSError, match="no space"):
        bench.disk.write("a", NEW)
    assert bench.disk.read("a") is None


def test_a_version_runs_when_it_starts_and_not_when_it_does_not():
    fine, dead = Bench(), Bench(Truth(starts=False))
    fine.do(fine.executor.swap(launch("v1")))
    dead.do(dead.executor.swap(launch("v1")))
    assert fine.executor.running("shop").artifact.version == "v1"
    assert (dead.executor.running("shop"), len(dead.faults)) == (None, 1)


def test_a_version_that_cannot_be_fetched_is_not_held():
    bench = Bench(Truth(fetched=False))
    bench.do(bench.executor.fetch(artifact("v1"), ()))
    assert not bench.executor.holds(artifact("v1"))
    assert len(bench.faults) == 1


def test_what_ends_while_no_agent_lives_is_told_to_the_next_one():
    bench = Bench(Truth(crashes_after_ms=500))
    told = []
    bench.do(bench.executor.adopt(lambda service, _: told.append(service)))
    bench.do(bench.executor.swap(launch("v1")))
    assert told == ["shop"]
    bench.do(bench.executor.swap(launch("v1")))
    assert told == ["shop", "shop"]
    bench.process.light(0, End.KILL)
    bench.machine.running["shop"] = Running(artifact=artifact("v1"))
    bench.machine.crash("shop")
    assert told == ["shop", "shop"]
    bench.process = Process(bench.timeline, "n1.2", Random(1))
    bench.do(MachineExecutor(bench.machine, bench.process).adopt(lambda _, how: told.append(how)))
    assert told[-1] == "ended while no agent ran"
