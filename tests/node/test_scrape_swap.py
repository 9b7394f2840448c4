"""While two processes share a socket, the executor says so: either may answer the page."""

import asyncio
from pathlib import Path

from tests.node.kit import SERVER, config_of, free_port, made, until

from tidegate.node import Launch, ProcessExecutor
from tidegate.node.config import ServiceConfig
from tidegate.ports import SystemClock, SystemDisk


async def test_what_runs_is_shared_from_the_start_of_a_swap_until_the_old_one_is_gone(tmp_path):
    shop = ServiceConfig(command=("{python}", SERVER, "{artifact}"), listen=f"127.0.0.1:{free_port()}")
    config = config_of(tmp_path, shop=shop)
    executor = ProcessExecutor(config, SystemDisk(Path(config.state)), SystemClock())
    await executor.adopt(lambda _service, _how: None)

    def shared():
        running = executor.running("shop")
        return running and running.shared

    try:
        for version in ("1", "2"):
            artifact = made(tmp_path, version, start_delay_s=0.2)
            await executor.fetch(artifact, ())
            swap = asyncio.ensure_future(executor.swap(Launch(service="shop", artifact=artifact, boot=version)))
            if version == "2":
                assert not shared()
                await until(shared)
                assert executor.running("shop").boot == "1"
            await swap
        assert (executor.running("shop").boot, shared()) == ("2", True)
        await until(lambda: not shared())
    finally:
        await executor.stop("shop")
        await executor.close()
