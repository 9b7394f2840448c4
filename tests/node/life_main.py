"""One life of an executor as a process, to be killed: ``life_main.py CONFIG ARTIFACT BOOT``. Says when it begins to swap."""

import asyncio
import sys
from pathlib import Path

import msgspec

from tidegate.node import Launch, NodeConfig
from tidegate.node.executors.registry import executors_of
from tidegate.ports import SystemClock, SystemDisk
from tidegate.wire.plans import Artifact


async def main(config: NodeConfig, artifact: Artifact, boot: str) -> None:
    (executor,) = executors_of(config, SystemDisk(Path(config.state)), SystemClock()).values()
    await executor.adopt(lambda _service, _how: None)
    await executor.fetch(artifact, ())
    print("swapping", flush=True)  # noqa: T201
    await executor.swap(Launch(service="shop", artifact=artifact, boot=boot))
    print("done", flush=True)  # noqa: T201
    await asyncio.Event().wait()


if __name__ == "__main__":
    read = [Path(one).read_bytes() for one in sys.argv[1:3]]
    asyncio.run(main(msgspec.json.decode(read[0], type=NodeConfig), msgspec.json.decode(read[1], type=Artifact), sys.argv[3]))
