"""Who speaks: the attributes of a resource as service, node, version and whatever else a row carries.

What a node agent has told a process (``tidegate.*``) comes first: only the agent knows for sure what is rolled out under which
name. A process that no agent started is known by what the conventions call things.
"""

import re
from collections.abc import Mapping
from hashlib import blake2b

from msgspec import Struct

from tidegate.wire.names import LABEL_LENGTH_MAX, NAME_LENGTH_MAX

NODE_FROM = ("host.name", "host.id", "service.instance.id")
"""What names a node, the first that is there; ``bridge.node`` may say otherwise."""
UNNAMED = "unknown_service"
"""How SDKs call a service that nobody has named."""
NO_VERSION = "unknown"
ZONES = ("cloud.availability_zone",)
LABELS = ("deployment.id", "host.type")
SERVICE_REMEDY = "set tidegate.service in OTEL_RESOURCE_ATTRIBUTES, or another OTEL_SERVICE_NAME"
NODE_REMEDY = "set tidegate.node in OTEL_RESOURCE_ATTRIBUTES, or let bridge.node name another attribute"

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]")


class Speaker(Struct, frozen=True, kw_only=True):
    """One process. ``resource``: a digest of everything that it says of itself."""

    resource: str
    service: str
    node: str
    version: str
    cohort: str
    zone: str
    labels: dict[str, str]


class Nobody(Exception):
    """A resource that is no service on a node. Says what is missing."""


def speaker_of(attributes: Mapping[str, str], node_from: tuple[str, ...] = NODE_FROM) -> Speaker:
    """Return who a resource is; Nobody where it names no service or no node, or one that cannot be told apart from others.

    >>> speaker_of({"service.namespace": "shop", "service.name": "cart", "host.name": "web 1"}).service
    'shop.cart'
    """
    service = _named("tidegate.service", attributes.get("tidegate.service", ""), SERVICE_REMEDY) or _service(attributes)
    if not service:
        raise Nobody("no service.name: set OTEL_SERVICE_NAME")
    nodes = (_named(name, attributes.get(name, ""), NODE_REMEDY) for name in ("tidegate.node", *node_from))
    node = next(filter(None, nodes), "")
    if not node:
        raise Nobody(f"no {', '.join(node_from)}: one of them must name the node")
    version = name_of(attributes.get("tidegate.version", "")) or name_of(attributes.get("service.version", "")) or NO_VERSION
    return Speaker(
        resource=digest(attributes),
        service=service,
        node=node,
        version=version,
        cohort=attributes.get("tidegate.cohort", "")[:LABEL_LENGTH_MAX],
        zone=next((attributes[name] for name in ZONES if attributes.get(name)), "")[:LABEL_LENGTH_MAX],
        labels={name: attributes[name][:LABEL_LENGTH_MAX] for name in LABELS if attributes.get(name)},
    )


def name_of(text: str) -> str:
    """Return a text as a name: what names may not hold becomes ``-``. Empty where nothing is left.

    >>> name_of("1.2.3+build 5"), name_of("@@"), name_of("")
    ('1.2.3-build-5', '', '')
    """
    return _NOT_IN_A_NAME.sub("-", text).lstrip("-._")[:NAME_LENGTH_MAX]


def digest(attributes: Mapping[str, str], scope: str = "") -> str:
    """Return a digest that tells sets of attributes apart; their order means nothing."""
    told = blake2b(scope.encode(errors="replace"), digest_size=12)
    for key in sorted(attributes):
        told.update(f"\0{key}\1{attributes[key]}".encode(errors="replace"))
    return told.hexdigest()


def _service(attributes: Mapping[str, str]) -> str:
    name = attributes.get("service.name", "")
    if not name or name.partition(":")[0] == UNNAMED:
        return ""
    space = attributes.get("service.namespace", "")
    return _named("service", f"{space}.{name}" if space else name, SERVICE_REMEDY)


def _named(what: str, text: str, remedy: str) -> str:
    """Return a text as a name. Nobody where it is not ASCII: whole words would become ``-``, and different names one."""
    if not text.isascii():
        shown = text[:NAME_LENGTH_MAX].encode(errors="replace").decode()
        raise Nobody(f"{what} {shown}: names are ASCII; {remedy}")
    return name_of(text)
