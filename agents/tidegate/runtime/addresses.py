"""Where brokers are, as people write it."""

import re
from typing import NamedTuple

from tidegate.runtime.problem import Problem

_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<name>[\w.-]+)):(?P<port>[0-9]{1,5})", re.ASCII)
PORT_MAX = 65_535


class Address(NamedTuple):
    """One of them; ``text`` as it was written."""

    text: str
    host: str
    port: int


def addresses(bootstrap: str, said: str = "kafka.bootstrap") -> list[Address]:
    """Return the addresses of a cluster. Problem (code 2) names the part that is none, and where it stands: ``said``.

    >>> [(one.host, one.port) for one in addresses("kafka-1:9092, [::1]:9093")]
    [('kafka-1', 9092), ('::1', 9093)]
    """
    return [_address(part.strip(), said) for part in bootstrap.split(",")]


def _address(text: str, said: str) -> Address:
    found = _ADDRESS.fullmatch(text)
    if found is None or not 1 <= int(found["port"]) <= PORT_MAX:
        raise Problem(
            f"{said}: {text!r} is no address of a broker",
            f"write host:port, several with commas between; a port is 1 to {PORT_MAX}, an IPv6 address stands in brackets",
            code=2,
        )
    return Address(text, found["v6"] or found["name"], int(found["port"]))
