"""Where brokers are, as people write it."""

import re
from typing import NamedTuple

from tidegate.runtime.problem import Problem

_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<name>[\w.-]+))(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
PORT_DEFAULT, PORT_MAX = 9_092, 65_535


class Address(NamedTuple):
    """One of them; ``text`` as it was written."""

    text: str
    host: str
    port: int


def addresses(bootstrap: str, said: str = "kafka.bootstrap") -> list[Address]:
    """Return the addresses of a cluster. Problem (code 2) names the part that is none, and where it stands: ``said``.

    >>> [(one.host, one.port) for one in addresses("kafka-1, [::1]:9093,")]
    [('kafka-1', 9092), ('::1', 9093)]
    """
    parts = [part.strip() for part in bootstrap.split(",")]
    return [_address(part, said) for part in [*filter(None, parts)] or parts[:1]]


def _address(text: str, said: str) -> Address:
    found = _ADDRESS.fullmatch(text)
    port = int(found["port"] or PORT_DEFAULT) if found is not None else 0
    if found is None or not 1 <= port <= PORT_MAX:
        raise Problem(
            f"{said}: {text!r} is no address of a broker",
            f"write host:port, several with commas between; a port is 1 to {PORT_MAX}, an IPv6 address stands in brackets",
            code=2,
        )
    return Address(text, found["v6"] or found["name"], port)
