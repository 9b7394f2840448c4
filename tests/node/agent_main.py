"""A node agent as a process of its own, to be killed: ``agent_main.py LOG CONFIG``, the node's key and trust from the kit."""

import asyncio
import os
import sys
import time
from pathlib import Path

import msgspec
from tests.node.filelog import FileLog
from tests.node.kit import Author, node_signer

from tidegate.node import NodeAgent, NodeConfig
from tidegate.node.executors.registry import executors_of
from tidegate.ports import SystemClock, SystemDisk


async def main(log_path: str, config: NodeConfig) -> None:
    log, clock, disk = FileLog(Path(log_path)), SystemClock(), SystemDisk(Path(config.state))
    agent = NodeAgent(
        log,
        clock,
        disk,
        executors_of(config, disk, clock),
        config=config,
        signer=node_signer(config.node),
        trust=Author(log).trust,
        boot=f"{os.getpid()}-{time.time_ns()}",
    )
    await agent.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], msgspec.json.decode(Path(sys.argv[2]).read_bytes(), type=NodeConfig)))
