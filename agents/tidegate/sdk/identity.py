"""Who speaks: a node agent tells its services by environment, everything can be said in code."""

import os
import socket
import uuid
from collections.abc import Mapping
from typing import Self

from msgspec import Struct

from tidegate.sdk.plain import LABEL_LENGTH_MAX, text_of
from tidegate.wire.names import NAME_LENGTH_MAX, is_name
from tidegate.wire.telemetry import FIELDS_MAX

SUFFIX_DIGITS = 8


class Identity(Struct, frozen=True, kw_only=True):
    """The fields of a row that do not change during one life of a process. ``boot`` names one start of the service, which may be
    many processes; ``life`` tells them apart.

    Raises ValueError where a field cannot travel: nobody would take its rows.
    """

    service: str
    node: str
    version: str
    boot: str
    cohort: str = ""
    zone: str = ""
    labels: dict[str, str] = {}

    def __post_init__(self) -> None:
        for field in ("service", "node", "version", "boot"):
            said = getattr(self, field)
            if not (isinstance(said, str) and is_name(said)):
                raise ValueError(
                    f"{field} {said!r}: a name has letters, digits, . _ - (at most {NAME_LENGTH_MAX}), letter or digit first; "
                    f"pass {field}=..., or set TIDEGATE_{field.upper()}"
                )
        for said in (self.cohort, self.zone, *self.labels, *self.labels.values()):
            if said != "" and text_of(said) is None:
                raise ValueError(f"label {said!r}: a text has at most {LABEL_LENGTH_MAX} characters, and no lone surrogates")
        if len(self.labels) > FIELDS_MAX:
            raise ValueError(f"{len(self.labels)} labels; a row has at most {FIELDS_MAX}")

    @classmethod
    def of(cls, environment: Mapping[str, str] | None = None, **known: str | None) -> Self:
        """Return what is ``known``, filled up from ``TIDEGATE_*`` variables, then from the machine.

        Raises ValueError where no service is named, or where something named so cannot travel.

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

    def life(self) -> str:
        """Return the ``boot`` of one process's rows, another one with each call: this one's and a random suffix.

        All workers of a server that forks have one environment. Rows of two of them under one name would be taken for repeats
        (A1), and a worker that comes again would be silent until it has made as many rows as the one before. Four billion
        suffixes are enough: they need to differ within a service of a node, and within the minute after which the judge forgets.

        >>> Identity(service="shop", node="n1", version="v1", boot="b1").life().partition(".")[:2]
        ('b1', '.')
        """
        return f"{self.boot[: NAME_LENGTH_MAX - SUFFIX_DIGITS - 1]}.{uuid.uuid4().hex[:SUFFIX_DIGITS]}"
