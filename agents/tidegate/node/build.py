"""A node agent from its configuration: the one place where ports, keys and executors are put together."""

import secrets
from pathlib import Path

from prometheus_client import CollectorRegistry

from tidegate.node.agent import NodeAgent
from tidegate.node.config import NodeConfig, load_signer, load_trust
from tidegate.node.executors.registry import executors_of
from tidegate.node.metrics import NodeMetrics
from tidegate.ports import Clock, Log, SystemClock, SystemDisk


def build_agent(config: NodeConfig, log: Log, clock: Clock | None = None, registry: CollectorRegistry | None = None) -> NodeAgent:
    """Return the agent of a configured node; ConfigError where a key file or an executor cannot be used.

    ``log`` stays the caller's. ``registry`` is where the agent's metrics are shown.
    """
    clock = clock or SystemClock()
    disk = SystemDisk(Path(config.state))
    agent = NodeAgent(
        log,
        clock,
        disk,
        executors_of(config, disk, clock),
        config=config,
        signer=load_signer(config),
        trust=load_trust(config),
        boot=f"{clock.now_ms():x}-{secrets.token_hex(3)}",
    )
    if registry is not None:
        registry.register(NodeMetrics(agent))
    return agent
