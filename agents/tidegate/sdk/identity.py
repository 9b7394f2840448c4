"""Who speaks: a node agent tells its services by environment, everything can be said in code."""

import os
import socket
import uuid
from collections.abc import Mapping
from typing import Self

from msgspec import Struct


class Identity(Struct, frozen=True, kw_only=True):
    """The fields of a row that do not change during one life of a process."""

    service: str
    node: str
    version: str
    boot: str
    cohort: str = ""
    zone: str = ""
    labels: dict[str, str] = {}

    @classmethod
    def of(cls, environment: Mapping[str, str] | None = None, **known: str | None) -> Self:
        """Return what is ``known``, filled up from ``TIDEGATE_*`` variables, then from the machine.

        Raises ValueError where no service is named.

        >>> Identity.of({"TIDEGATE_SERVICE": "shop", "TIDEGATE_VERSION": "v2", "TIDEGATE_NODE": "n1"}, version="v3").version
        'v3'
        """
        env = os.environ if environment is None else environment

        def pick(name: str, otherwise: str) -> str:
            return known.get(name) or env.get(f"TIDEGATE_{name.upper()}") or otherwise

        service = pick("service", "")
        if not service:
            raise ValueError("no service is named: pass service=..., or set TIDEGATE_SERVICE")
        return cls(
            service=service,
            node=pick("node", socket.gethostname()),
            version=pick("version", "unknown"),
            boot=pick("boot", uuid.uuid4().hex[:12]),
            cohort=pick("cohort", ""),
            zone=pick("zone", ""),
        )
