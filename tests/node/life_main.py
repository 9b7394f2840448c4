"""Lives of an executor, each a process: for every line "CONFIG ARTIFACT BOOT STEP" of its input one that swaps and ends.

It kills itself, as kill -9 would, right before the step of that number: a step is whatever the swap makes, renames, removes or
starts. Its exit code is the answer: 0 where there are fewer steps. What takes long, the imports, all lives have in common.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec

from tidegate.node import Launch, NodeConfig
from tidegate.node.executors.registry import executors_of
from tidegate.ports import SystemClock, SystemDisk
from tidegate.wire.plans import Artifact

STEPS = ("os.rename", "os.symlink", "os.mkdir", "os.remove", "os.rmdir", "os.posix_spawn", "subprocess.Popen")


def die_before(step: int) -> None:
    seen = 0

    def hook(event: str, _words: tuple) -> None:
        nonlocal seen
        if event in STEPS:
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


async def main(config: NodeConfig, artifact: Artifact, boot: str, step: int) -> None:
    (executor,) = executors_of(config, SystemDisk(Path(config.state)), SystemClock()).values()
    await executor.adopt(lambda _service, _how: None)
    await executor.fetch(artifact, ())
    die_before(step)
    await executor.swap(Launch(service="shop", artifact=artifact, boot=boot))
    await executor.close()


if __name__ == "__main__":
    for line in sys.stdin:
        if not (life := os.fork()):
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # only answers go there
            config, artifact, boot, step = line.split()
            read = [Path(one).read_bytes() for one in (config, artifact)]
            configured = msgspec.json.decode(read[0], type=NodeConfig), msgspec.json.decode(read[1], type=Artifact)
            sys.exit(asyncio.run(main(*configured, boot, int(step))))
        print(os.waitstatus_to_exitcode(os.waitpid(life, 0)[1]), flush=True)  # noqa: T201
