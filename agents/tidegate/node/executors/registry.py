"""Executors by the word that a node's YAML gives: ours and those of installed packages, found and loaded in one way.

A package brings its own by an entry point of the group ``tidegate.executors``; the entry's name is the word, its object a
``Factory``.
"""

from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

from tidegate.node.config import ConfigError, NodeConfig
from tidegate.node.executor import Executor
from tidegate.ports import Clock, Disk

GROUP = "tidegate.executors"
BUILT_IN = tuple(
    EntryPoint(word, f"tidegate.node.executors.{place}", GROUP)
    for word, place in (
        ("hooks", "hooks:build"),
        ("none", "none:build"),
        ("process", "process:ProcessExecutor"),
        ("symlink", "symlink:build"),
    )
)
PROMISED = ("adopt", "close", "fetch", "holds", "measure", "running", "stop", "swap")
"""The methods of ``Executor``."""


class Factory(Protocol):
    """Makes the executor of one node. It serves each service whose ``executor`` is its word, and checks their ``options``.

    ConfigError, or ValueError with the path of what is wrong, where it cannot serve them.
    """

    def __call__(self, config: NodeConfig, disk: Disk, clock: Clock) -> Executor:
        """Return the executor. Nothing is started, stopped or thrown away yet: ``adopt`` comes first."""
        ...


def executors_of(config: NodeConfig, disk: Disk, clock: Clock) -> dict[str, Executor]:
    """Return the executors that a node's services name, by their words. Others are not even loaded. ConfigError."""
    found = installed()
    made: dict[str, Executor] = {}
    for service, one in sorted(config.services.items()):
        if one.executor not in found:
            raise ConfigError(
                f"services.{service}.executor: {one.executor} is unknown; installed are {', '.join(sorted(found))}. Write one of "
                f"these, or install the package that brings it (it has an entry point {one.executor} in the group {GROUP})"
            )
        if one.executor not in made:
            made[one.executor] = _made(found[one.executor], config, disk, clock)
    return made


def installed() -> dict[str, tuple[EntryPoint, ...]]:
    """Return the entries behind each word; more than one is a fault of the installation, told when the word is used."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in (*BUILT_IN, *entry_points(group=GROUP)):
        found[entry.name] = (*found.get(entry.name, ()), entry)
    return found


def _made(entries: tuple[EntryPoint, ...], config: NodeConfig, disk: Disk, clock: Clock) -> Executor:
    entry = entries[0]
    if len(entries) > 1:
        owners = " and ".join(_owner(one) for one in entries)
        raise ConfigError(f"executor {entry.name}: {owners} all bring it; uninstall all but one")
    whose = f"executor {entry.name} of {_owner(entry)} ({entry.value})"
    try:
        factory: Factory = entry.load()
    except Exception as error:
        raise ConfigError(f"{whose} cannot be loaded: {type(error).__name__}: {error}; mend or reinstall that package") from error
    try:
        executor = factory(config, disk, clock)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{whose} refuses the configuration: {error}") from error
    except Exception as error:
        raise ConfigError(f"{whose} cannot be made: {type(error).__name__}: {error}") from error
    if missing := [name for name in PROMISED if not callable(getattr(executor, name, None))]:
        raise ConfigError(f"{whose} is no executor: it lacks {', '.join(missing)} of tidegate.node.Executor")
    return executor


def _owner(entry: EntryPoint) -> str:
    dist = getattr(entry, "dist", None)
    return f"{dist.name} {dist.version}" if dist is not None else "tidegate"
