"""``tidegate node``: one node agent, from its file."""

import asyncio
import os
import sys
from pathlib import Path

import click
from msgspec.structs import replace
from prometheus_client import REGISTRY

from tidegate.broker import Connection, KafkaLog
from tidegate.node import ConfigError, NodeAgent, NodeConfig, build_agent, load_config
from tidegate.runtime.logs import configure
from tidegate.runtime.serve import NotReady, serving
from tidegate.runtime.settings import LogSettings
from tidegate.runtime.stopping import run_until, stop_signals


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The node's YAML file.")
@click.option("--stop-services", is_flag=True, help="Drain the services when the agent stops; without it they run on.")
def node(path: Path, stop_services: bool) -> None:
    """Run a node agent: carry out what is desired, measure what runs, report it.

    Serves /metrics and health at metrics_port of the file. SIGTERM ends it; its services run on, and its successor adopts them.
    """
    config = load_config(path)
    if bootstrap := os.environ.get("TIDEGATE_BOOTSTRAP"):
        config = replace(config, kafka=replace(config.kafka, bootstrap=bootstrap))
    configure(LogSettings(), sys.stderr, role="node", node=config.node)
    try:
        asyncio.run(_run(config, stop_services=stop_services))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


async def _run(config: NodeConfig, *, stop_services: bool) -> None:
    stop = stop_signals()
    log = KafkaLog(Connection(config.kafka.bootstrap, config.kafka.prefix), client_id=f"node-{config.node}")
    agent = build_agent(config, log, registry=REGISTRY)
    try:
        async with serving("127.0.0.1", config.metrics_port or 0, _not_ready(agent)):
            await run_until(stop, agent.run(), lambda: agent.stop(stop_services=stop_services))
    finally:
        await log.close()


def _not_ready(agent: NodeAgent) -> NotReady:
    return lambda: None if agent.caught_up else "desired has not been read to its end yet"
