"""The node's own configuration: one YAML file, refused with the path of every misspelt word."""

import contextlib
import socket
import urllib.parse
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from tidegate.node.scrape.config import ScrapeConfig
from tidegate.node.scrape.config import faults as scrape_faults
from tidegate.runtime.access import ROLE, Access, Sasl, Tls
from tidegate.runtime.keys import read_key
from tidegate.runtime.problem import Problem
from tidegate.runtime.trust import read_trust
from tidegate.runtime.yaml_text import NotYaml, read_yaml
from tidegate.wire.codec import Malformed, convert
from tidegate.wire.envelope import Signer, Trust
from tidegate.wire.names import Duration, Label, Name, duration_ms

PORT_MOST = 65_535
Port = Annotated[int, Meta(ge=0, le=PORT_MOST)]
Address = Annotated[str, Meta(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$", description="host:port")]

SCRIPT_MOST_S = 3_600
"""So long a script of an appspec may take."""

HERE = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "::"}  # noqa: S104 - nothing is bound here
"""Who listens at one of these is found at the others, as a rule."""


class ConfigError(Problem):
    """A configuration that cannot be used. Names file, path and remedy."""

    def __init__(self, what: str) -> None:
        super().__init__(what, code=2)


class Kafka(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the broker is, the prefix of every topic, and how this node's clients say who they are (docs/security.md).

    ``{role}`` in ``tls`` and ``sasl`` is ``node`` for the agent, and ``service`` for the services that it starts.
    """

    bootstrap: str
    prefix: str = "tidegate."
    tls: Tls | None = None
    sasl: Sasl | None = None

    @property
    def access(self) -> Access:
        """TLS and SASL in one, as they stand here."""
        return Access(self.tls, self.sasl)


class Keys(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files: the signed key document, and this node's private key (hexadecimal; the file's stem is the key's id)."""

    root: str
    private: str


class Readiness(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a version says that it may serve. Exactly one of ``http`` (answers 2xx) and ``tcp`` (accepts).

    The address must be the version's own: old and new share ``listen`` while they stand side by side.
    """

    http: str | None = None
    tcp: Address | None = None


class ServiceConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """One service of this node. ``command`` may hold {artifact}, {version}, {config}, {listen} and {python}.

    ``command``, ``listen`` and ``drain`` are of executor ``process``; the others have ``options``, which they check themselves.
    """

    executor: Name = "process"
    command: tuple[str, ...] = ()
    listen: Address | None = None
    readiness: Literal["notify"] | Readiness = "notify"
    ready_within: Duration = "10s"
    drain: Duration = "10s"
    env: dict[str, str] = {}
    options: dict[str, Any] = {}
    scrape: ScrapeConfig | None = None
    """For a service that does not publish telemetry itself: its metrics page is asked every second."""
    address: Address | None = None
    """Where it answers on this machine, for the probe of its plan (I2); none: ``listen``."""

    @property
    def ready_within_s(self) -> float:
        """Seconds within which a version must become ready."""
        return duration_ms(self.ready_within) / 1_000

    @property
    def asked_at(self) -> str | None:
        """The address that probes ask; None: nobody has said it."""
        return self.address or self.listen

    @property
    def drain_s(self) -> float:
        """Seconds that a version has to finish what it began, before it is killed."""
        return duration_ms(self.drain) / 1_000


class NodeConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that one node agent is told by its machine."""

    fleet: Name
    node: Name
    kafka: Kafka
    keys: Keys
    state: str
    services: dict[Name, ServiceConfig]
    zone: Label = ""
    labels: dict[Label, Label] = {}
    metrics_host: str = "127.0.0.1"
    metrics_port: Port | None = None
    """Where /metrics, /healthz and /readyz are; no port: any free one."""
    cache_bytes_max: Annotated[int, Meta(ge=0)] = 2 << 30
    """Bound of the artifact cache; what runs and what it would go back to is kept beyond it."""
    flag_files: dict[Name, str] = {}
    """Set of flags to the file that is kept of it for local processes (flagd's JSON)."""

    @property
    def stopped_within_s(self) -> float:
        """Seconds that the slowest service may take to stop: its ``drain``, or what a script may take at most."""
        return max([SCRIPT_MOST_S, *(service.drain_s for service in self.services.values())])


def load_config(path: Path) -> NodeConfig:
    """Return the configuration in a file, its own paths made relative to the file's folder. ConfigError."""
    try:
        config = convert(read_yaml(path), NodeConfig)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; write it with: tidegate init") from error
    except NotYaml as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    except Malformed as error:
        raise ConfigError(f"{path}: {error.path or '(whole file)'}: {error.problem}") from error
    for at, problem in faults(config):
        raise ConfigError(f"{path}: {at}: {problem}")
    here = path.parent
    keys = Keys(root=str(here / config.keys.root), private=str(here / config.keys.private))
    flag_files = {set_id: str(here / file) for set_id, file in config.flag_files.items()}
    access = config.kafka.access.of(ROLE, here)
    kafka = replace(config.kafka, tls=access.tls, sasl=access.sasl)
    return replace(config, kafka=kafka, keys=keys, state=str(here / config.state), flag_files=flag_files)


def faults(config: NodeConfig) -> list[tuple[str, str]]:
    """Return every fault that types cannot see, as (path, problem)."""
    found: list[tuple[str, str]] = []
    for name, service in config.services.items():
        at = f"services.{name}"
        tcp = service.readiness.tcp if isinstance(service.readiness, Readiness) else None
        for word, address in (("listen", service.listen), ("address", service.address), ("readiness.tcp", tcp)):
            if address is not None and host_and_port(address)[2] > PORT_MOST:
                found.append((f"{at}.{word}", f"{address}: a port is at most {PORT_MOST}"))
        if service.executor == "process" and not service.command:
            found.append((f"{at}.command", 'give the command that runs a version, such as ["{python}", "{artifact}"]'))
        if isinstance(service.readiness, Readiness) and (service.readiness.http is None) == (service.readiness.tcp is None):
            found.append((f"{at}.readiness", "give exactly one of http and tcp, or write notify"))
        elif isinstance(service.readiness, Readiness) and _asks_all(service.readiness, service.listen):
            problem = f"asks at {service.listen}, where the version before answers too; give an address of the version's own"
            found.append((f"{at}.readiness", problem))
        if service.scrape is not None:
            found += ((f"{at}.scrape.{path}", problem) for path, problem in scrape_faults(service.scrape, service.listen))
    return found


def _asks_all(readiness: Readiness, listen: Address | None) -> bool:
    """Return whether whoever asks may be answered by any version: the kernel accepts at ``listen`` before anybody serves."""
    if listen is None:
        return False
    with contextlib.suppress(ValueError):
        asked = urllib.parse.urlsplit(readiness.http or f"tcp://{readiness.tcp}")
        _, host, port = host_and_port(listen.lower())
        return (asked.port or 80) == port and (asked.hostname == host or {asked.hostname, host} <= HERE)
    return False


def load_signer(config: NodeConfig) -> Signer:
    """Return this node's private key. Problem where it cannot be used, or where others can read it."""
    return read_key(Path(config.keys.private))


def load_trust(config: NodeConfig) -> Trust:
    """Return the trust that this node's key document states. Problem; ConfigError where it is another fleet's."""
    trust = read_trust(Path(config.keys.root))
    if trust.fleet != config.fleet:
        raise ConfigError(f"keys.root: {config.keys.root}: is of fleet {trust.fleet}, this node is of {config.fleet}")
    return trust


def host_and_port(address: str) -> tuple[socket.AddressFamily, str, int]:
    """Return the parts of ``host:port``; an IPv6 host stands in brackets.

    >>> host_and_port("[::1]:80")[1:]
    ('::1', 80)
    """
    host, _, port = address.rpartition(":")
    if host.startswith("["):
        return socket.AF_INET6, host[1:-1], int(port)
    return socket.AF_INET, host, int(port)
