"""The ``options`` block of a service, which each executor defines and checks for itself."""

from typing import TypeVar

from msgspec import Struct

from tidegate.node.config import ConfigError, NodeConfig, ServiceConfig
from tidegate.wire.codec import Malformed, convert

T = TypeVar("T", bound=Struct)


class NoOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """Of an executor that has none."""


def options_of(service: str, config: ServiceConfig, kind: type[T]) -> T:
    """Return a service's options as a struct. ConfigError names the path of the first fault."""
    try:
        return convert(config.options, kind)
    except Malformed as error:
        at = f"services.{service}.options" + (f".{error.path}" if error.path else "")
        raise ConfigError(f"{at}: {error.problem} (executor {config.executor})") from error


def served_by(word: str, config: NodeConfig) -> dict[str, ServiceConfig]:
    """Return the services of a node that an executor serves."""
    return {name: service for name, service in config.services.items() if service.executor == word}
