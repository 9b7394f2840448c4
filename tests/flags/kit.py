"""Sets and definitions for tests, in few words."""

import json
from typing import Any

from tidegate.flags.evaluate import Asked, Resolution, evaluate
from tidegate.flags.store import Flags, FlagSet
from tidegate.wire.flags import EVALUATORS, METADATA, TopicKey, flag_file

NOW_S = 1_700_000_000


def definition(targeting: Any = None, default: str | None = "off", **fields: Any) -> bytes:
    """An on/off flag, unless other variants are given."""
    plain: dict[str, Any] = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": default}
    if targeting is not None:
        plain["targeting"] = targeting
    return json.dumps(plain | fields).encode()


def flag_set(bucketing: str = "v2", evaluators: dict[str, Any] | None = None, **flags: bytes) -> FlagSet:
    held = Flags()
    held.put(TopicKey("web", METADATA), json.dumps({"bucketing": bucketing}).encode())
    held.put(TopicKey("web", EVALUATORS), json.dumps(evaluators or {}).encode())
    for key, value in flags.items():
        held.put(TopicKey("web", key), value)
    return held.sets["web"]


def load(file: dict[str, Any]) -> FlagSet:
    """A flagd file as a set."""
    held, found = Flags(), flag_file(json.dumps(file).encode())
    for key, value in found.flags.items():
        held.put(TopicKey("web", key), bytes(value))
    held.put(TopicKey("web", EVALUATORS), bytes(found.evaluators))
    held.put(TopicKey("web", METADATA), bytes(found.metadata))
    return held.sets["web"]


def asked(context: Any = None, **fields: Any) -> Asked:
    return Asked(context={} if context is None else context, now_s=NOW_S, **fields)


def got(value: bytes, context: Any = None, key: str = "f", bucketing: str = "v2", **evaluators: Any) -> Resolution:
    """What a definition gives."""
    return evaluate(flag_set(bucketing, evaluators, **{key: value}), key, asked(context))
