"""What a provider is told: in code, or by the environment that a node agent sets."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from msgspec import Struct

from tidegate.runtime.access import PLAIN_TEXT, Access, access_in
from tidegate.sdk.publisher import BOOTSTRAP_DEFAULT
from tidegate.wire.flags import TopicKey, topic_key
from tidegate.wire.names import is_name

WAIT_S = 5.0


class FlagSettings(Struct, frozen=True, kw_only=True):
    """Whose flags, from where. ``of`` fills up from the environment what is not said."""

    flag_set: str
    """The set whose flags are evaluated; a flag's key has no set in it."""
    root: Path
    """The fleet's signed key document (``root.json``): it says whose flags count."""
    bootstrap: str = BOOTSTRAP_DEFAULT
    prefix: str = "tidegate."
    access: Access = PLAIN_TEXT
    """How the broker is known and told who asks (docs/security.md)."""
    snapshot: Path | None = None
    """Folder of the last known good, for a start without broker; none: there is no snapshot."""
    service: str = ""
    """Stands in exposures, with ``node``; without it none are sent."""
    node: str = ""
    wait_s: float = WAIT_S
    """So long ``initialize`` waits for a broker before it makes do with the snapshot."""
    exposures: bool = True
    """Whether it is told who saw which variant of a watched flag, and what requests they served (slices)."""

    @classmethod
    def of(cls, environment: Mapping[str, str] | None = None, **known: Any) -> Self:
        """Return what is ``known``, filled up from ``TIDEGATE_FLAG_SET``, ``_ROOT``, ``_BOOTSTRAP``, ``_PREFIX``, ``_STATE`` (the
        snapshot's folder), ``_SERVICE``, ``_NODE``, ``_TLS_*`` and ``_SASL_*``.

        Raises ValueError where no set or no key document is named, or where the variables are no access to a broker.
        """
        env = os.environ if environment is None else environment
        for field in ("flag_set", "root", "bootstrap", "prefix", "service", "node"):
            if not known.get(field) and env.get(f"TIDEGATE_{field.upper()}"):
                known[field] = env[f"TIDEGATE_{field.upper()}"]
        if "snapshot" not in known and env.get("TIDEGATE_STATE"):
            known["snapshot"] = Path(env["TIDEGATE_STATE"]) / "flags"
        for field, variable in (("flag_set", "TIDEGATE_FLAG_SET"), ("root", "TIDEGATE_ROOT")):
            if not known.get(field):
                raise ValueError(f"no {field} is named: pass {field}=..., or set {variable}")
        known["root"] = Path(known["root"])
        known.setdefault("access", access_in(env))
        known.setdefault("node", socket.gethostname())
        return cls(**known)

    def __post_init__(self) -> None:
        if not is_name(self.flag_set):
            raise ValueError(f"flag_set {self.flag_set!r}: a name has letters, digits, . _ - (at most 128)")

    def key(self, flag: str) -> TopicKey:
        """Return the key of a flag on the topic."""
        return topic_key(f"{self.flag_set}/{flag}")
