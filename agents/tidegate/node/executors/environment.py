"""What every version of a service is told: its environment, and the words of a command with their placeholders filled."""

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from tidegate.node.config import NodeConfig
from tidegate.node.executor import Launch
from tidegate.node.executors.resource import resource_of

OURS = ("TIDEGATE_", "LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_")
"""What the agent itself was told is not passed on."""


def environment_of(config: NodeConfig, service: str, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what all versions of a service are told: what the agent inherited, who it is to the broker unless its ``env`` says
    so itself, its ``env``, where it runs.
    """
    passed_on = {key: value for key, value in (inherited or os.environ).items() if not key.startswith(OURS)}
    access = config.kafka.access.of("service", Path()).environment()
    return passed_on | access | config.services[service].env | where_of(config, service)


def where_of(config: NodeConfig, service: str) -> dict[str, str]:
    """Return where a service runs, as the SDK reads it."""
    return {
        "TIDEGATE_FLEET": config.fleet,
        "TIDEGATE_NODE": config.node,
        "TIDEGATE_SERVICE": service,
        "TIDEGATE_ZONE": config.zone,
        "TIDEGATE_BOOTSTRAP": config.kafka.bootstrap,
        "TIDEGATE_PREFIX": config.kafka.prefix,
        "TIDEGATE_ROOT": str(Path(config.keys.root).absolute()),
        "TIDEGATE_STATE": str(Path(config.state).absolute()),
    }


def life_of(launch: Launch, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what one life of a version is told beside ``environment``, which all of them are."""
    return {
        "TIDEGATE_VERSION": launch.artifact.version,
        "TIDEGATE_BOOT": launch.boot,
        "TIDEGATE_COHORT": launch.cohort.value,
        **resource_of(environment, launch),
    }


def filled(words: Iterable[str], values: Mapping[str, str]) -> list[str]:
    """Return a command with its placeholders filled; braces of other meaning stay as they are.

    >>> filled(["run", "{version}", "${HOME}"], {"version": "v1"})
    ['run', 'v1', '${HOME}']
    """
    values = {"python": sys.executable, **values}
    done = []
    for word in words:
        for name, value in values.items():
            word = word.replace(f"{{{name}}}", value)  # noqa: PLW2901 - one name after the other
        done.append(word)
    return done
