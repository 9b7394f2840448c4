"""The node agent: carries out on one machine what ``desired`` asks, measures what really runs, and reports it.

The shell decodes, asks ``tidegate.reconcile`` what to do, and does it with the executors it was given; a rule about what
should run does not belong here. Nothing here judges or decides for the fleet.
"""

from tidegate.node.agent import NodeAgent
from tidegate.node.build import build_agent
from tidegate.node.config import ConfigError, NodeConfig, load_config
from tidegate.node.executor import Executor, FetchFailed, Late, Launch, StartFailed, StopFailed
from tidegate.node.executors.none import NoneExecutor
from tidegate.node.executors.process import ProcessExecutor

__all__ = [
    "ConfigError",
    "Executor",
    "FetchFailed",
    "Late",
    "Launch",
    "NodeAgent",
    "NodeConfig",
    "NoneExecutor",
    "ProcessExecutor",
    "StartFailed",
    "StopFailed",
    "build_agent",
    "load_config",
]
