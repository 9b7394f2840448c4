"""Settings: one tree, read from ``config.yaml`` and overlaid by ``TIDEGATE__SECTION__KEY`` variables.

An unknown key is refused with its path. ``TIDEGATE_BOOTSTRAP`` names the user's own cluster and wins over both.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from tidegate.otlp.identity import NODE_FROM
from tidegate.runtime.access import Access, Sasl, Tls
from tidegate.runtime.addresses import addresses
from tidegate.runtime.faults import faults_of
from tidegate.runtime.problem import Problem
from tidegate.runtime.yaml_text import NotYaml, read_yaml
from tidegate.wire.codec import told_faults
from tidegate.wire.names import Duration, Name

OVERLAY = "TIDEGATE__"

Port = Annotated[int, Meta(ge=0, le=65535)]
TopicName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,249}$(?!\n)")]
Prefix = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{0,100}$")]


class KafkaSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the broker is, the prefix of every topic, and how its clients say who they are (docs/security.md).

    No bootstrap: ``tidegate up`` finds or starts a broker. ``{role}`` in ``tls`` and ``sasl`` is the role of the process.
    """

    bootstrap: str | None = None
    prefix: Prefix = "tidegate."
    tls: Tls | None = None
    sasl: Sasl | None = None

    @property
    def access(self) -> Access:
        """TLS and SASL in one, as they stand here."""
        return Access(self.tls, self.sasl)


class TimingSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Intervals of decide (rule E3)."""

    heartbeat: Duration = "3s"
    takeover: Duration = "9s"
    """Silence of the author after which a successor claims."""


class HttpSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where each role serves /metrics, /healthz and /readyz. Port 0: any free one; the log tells which."""

    host: str = "127.0.0.1"
    intake: Port = 0
    judge: Port = 0
    experiment: Port = 0
    decide: Port = 0
    notify: Port = 0
    api: Port = 0
    bridge: Port = 0


class AlertSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What alerts of Alertmanager do that are posted to ``/api/v1/alertmanager`` (docs/alarms.md)."""

    aborts: tuple[Annotated[dict[str, str], Meta(min_length=1)], ...] = field(default_factory=lambda: ({"tidegate": "abort"},))
    """Labels: an alert that has all of one entry aborts the rollout of its service. Every critical one makes it wait."""
    lasts: Duration = "12h"
    """An alert that was not told again for so long is over: more than twice Alertmanager's ``repeat_interval``."""


class ApiSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where ``tidegate api`` serves flags: OFREP at ``port``, flagd's sync at ``sync``; flagd's own ports unless said."""

    host: str = "127.0.0.1"
    """Only this machine is served as long as there is no token, whatever stands here."""
    port: Port = 8016
    sync: Port = 8015
    flag_set: Name | None = None
    """The set of requests that name none."""
    origins: list[str] = []
    """Of web pages that may ask (CORS)."""
    alerts: AlertSettings = AlertSettings()


class CollectedTopic(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A topic that a collector's kafkaexporter writes metrics to: its full name, and its encoding."""

    topic: TopicName
    encoding: Literal["otlp_proto", "otlp_json"] = "otlp_proto"


class BridgeSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where ``tidegate bridge`` takes OTLP metrics from: POST /v1/metrics at ``port``, OTLP's own unless said; and topics."""

    host: str = "127.0.0.1"
    """Only this machine is served as long as there is no token, whatever stands here."""
    port: Port = 4318
    topics: list[CollectedTopic] = []
    node: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)] = NODE_FROM
    """Attributes that name a node, the first that is there. What a node agent has told a process comes before them."""


class LogSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How logs look. ``auto``: for people on a terminal, JSON otherwise."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class NotifySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is told of alarms, and who is asked by gates. Each has a ``kind`` and what ``tidegate.notify.targets`` or
    ``tidegate.notify.gates`` asks of that kind.
    """

    targets: list[dict[str, Any]] = []
    gates: list[dict[str, Any]] = []
    console: str = ""
    """Address of the console, as people reach it: notices link there. Empty: they have no link."""
    wait: Duration = "2s"
    """So long the first news of a group wait for more."""
    interval: Duration = "30s"
    """So long later news of a group wait."""
    repeat: Duration = "4h"
    """After this it is told again what still fires."""


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a role is told besides its keys."""

    fleet: Name
    kafka: KafkaSettings = KafkaSettings()
    timings: TimingSettings = TimingSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()
    notify: NotifySettings = NotifySettings()
    api: ApiSettings | None = None
    """Absent: ``tidegate up`` serves no flags, ``tidegate api`` does so at the ports above."""
    bridge: BridgeSettings | None = None
    """Absent: ``tidegate up`` takes no OTLP, ``tidegate bridge`` does so at the port above."""


def load_settings(path: Path, environment: Mapping[str, str]) -> Settings:
    """Return the settings of a file under the environment's overlay. Problem names every fault by its path."""
    try:
        values = read_yaml(path)
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}", "make a home with: tidegate init", code=2) from error
    except NotYaml as error:
        raise Problem(f"{path}: not YAML: {error}", "mend the file", code=2) from error
    values = values if isinstance(values, dict) else {}
    variables = overlay(values, environment)
    faults = faults_of(values, Settings, strict=False)
    if faults:
        told = told_faults((variables.get(at, at), problem) for at, problem in faults)
        raise Problem(f"{path}: {told}", "mend the file or the variable", code=2)
    settings = msgspec.convert(values, Settings, strict=False)
    if settings.kafka.bootstrap:
        addresses(settings.kafka.bootstrap, variables.get("kafka.bootstrap", f"{path}: kafka.bootstrap"))
    return settings


def overlay(values: dict[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """Put ``TIDEGATE__SECTION__KEY`` variables into plain values; return path to variable. An empty one means nothing set; lists
    and objects are written as JSON.

    >>> values = {"kafka": {"prefix": "a."}}
    >>> overlay(values, {"TIDEGATE__KAFKA__PREFIX": "b."}), values
    ({'kafka.prefix': 'TIDEGATE__KAFKA__PREFIX'}, {'kafka': {'prefix': 'b.'}})
    """
    said: dict[str, str] = {}
    pairs = {name: text for name, text in environment.items() if name.startswith(OVERLAY)}
    if environment.get("TIDEGATE_BOOTSTRAP"):
        pairs.pop(f"{OVERLAY}KAFKA__BOOTSTRAP", None)
        pairs["TIDEGATE_BOOTSTRAP"] = environment["TIDEGATE_BOOTSTRAP"]
    for name, text in sorted(pairs.items()):
        path = ["kafka", "bootstrap"] if name == "TIDEGATE_BOOTSTRAP" else name.removeprefix(OVERLAY).lower().split("__")
        place = values
        for part in path[:-1]:
            inner = place.get(part)
            if not isinstance(inner, dict):
                inner = place[part] = {}
            place = inner
        place[path[-1]] = _plain(text)
        said[".".join(path)] = name
    return said


def _plain(text: str) -> object:
    """Return what a variable says: a list or an object where it is one, text otherwise, as an address such as [::1]:9092 is."""
    if text.startswith(("[", "{")):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
    return text or None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
