"""One life of an executor as a process: ``life_main.py CONFIG ARTIFACT BOOT STEP``. It kills itself, as kill -9 would, right
before the step of that number: a step is whatever the swap makes, renames, removes or starts. Says "done" where there are fewer.
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
    print("done")  # noqa: T201
    await executor.close()


if __name__ == "__main__":
    read = [Path(one).read_bytes() for one in sys.argv[1:3]]
    asyncio.run(
        main(
            msgspec.json.decode(read[0], type=NodeConfig),
            msgspec.json.decode(read[1], type=Artifact),
            sys.argv[3],
            int(sys.argv[4]),
        )
    )
