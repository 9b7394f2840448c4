"""Every file that a person writes, as a JSON Schema: the struct that it becomes, less what the command line fills in, and with
what a file may say otherwise.
"""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from tidegate.describe.schema import HERE, Schema, schemas_of
from tidegate.node.config import NodeConfig
from tidegate.notify import gates, targets
from tidegate.notify.kinds import kinds
from tidegate.runtime.keys import Command
from tidegate.runtime.settings import Settings
from tidegate.wire.flagchanges import FlagRamp
from tidegate.wire.flags import Definition
from tidegate.wire.flagspecs import FlagSpec
from tidegate.wire.groups import GroupFile
from tidegate.wire.plans import Plan
from tidegate.wire.policies import Policy

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MOMENT = {"type": "string", "format": "date-time", "description": "a time with its zone, as in 2026-12-24T18:00:00+01:00"}
FILLED_IN = ("id", "fleet", "issuedMs", "expiresMs", "kind")
"""What the command line knows of a signed document."""

Named = dict[str, Schema]


class File(Struct, frozen=True):
    """One kind of file: what it becomes, what it is, and how what may stand in it differs."""

    kind: type[Struct]
    what: str
    adapt: Callable[[Named], None] = lambda _: None


def _settings(named: Named) -> None:
    for field, package in (("targets", targets), ("gates", gates)):
        modules = kinds(package.__name__)
        options, others = schemas_of([module.Options for module in modules.values()])
        for kind, schema in zip(modules, options, strict=True):
            whole = others.pop(schema["$ref"].rpartition("/")[2])
            whole["properties"] = {"kind": {"const": kind}} | whole["properties"]
            whole["required"] = ["kind", *whole["required"]]
            named[f"{field}.{kind}"] = whole
        named |= others
        items = {"oneOf": [{"$ref": HERE.format(name=f"{field}.{kind}")} for kind in modules]}
        named["NotifySettings"]["properties"][field]["items"] = items


def _plan(named: Named) -> None:
    _unsigned(named["Plan"])
    named["Rollback"]["required"] = []
    artifact = named["Artifact"]
    artifact["required"] = ["version"]
    artifact["properties"]["path"] = {"type": "string", "description": "A local file; sha256 and size are measured."}
    artifact["properties"]["configPath"] = {"type": "string", "description": "A local file; its sha256 is measured."}
    for place in ("Plan", "Stage", "Rollback"):
        shares = named[place]["properties"]["maxUnavailable"]
        shares["anyOf"] = [{"type": "integer", "minimum": 0}, *shares.get("anyOf", [_moved(shares, ("type", "pattern"))])]


def _policy(named: Named) -> None:
    _unsigned(named["Policy"])
    freeze = named["Freeze"]["properties"]
    freeze["from"], freeze["until"] = MOMENT, MOMENT


class FlagFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is wanted of a flag, and the ramp by which it comes; without a ramp the flag is ``immediate``."""

    spec: FlagSpec
    ramp: FlagRamp | None = None


def _flag(named: Named) -> None:
    [definition], others = schemas_of([Definition])
    named |= others
    # flagd's own object, which may say more than is decoded here.
    named["FlagSpec"]["properties"]["definition"] = definition


FILES: dict[str, File] = {
    "config": File(Settings, "config.yaml of a home: all that a role is told besides its keys.", _settings),
    "node": File(NodeConfig, "The file of one node agent: tidegate node --config FILE."),
    "plan": File(Plan, "A plan: tidegate rollout start FILE.", _plan),
    "group": File(GroupFile, "A group of plans in waves: tidegate rollout start FILE."),
    "policy": File(Policy, "A policy: tidegate policy set FILE.", _policy),
    "flag": File(FlagFile, "A flag, and the ramp by which it comes: tidegate flag set SET/FLAG FILE.", _flag),
    "signer": File(Command, "A key that is a command: keys/ID.signer."),
}
"""By the name under which ``tidegate schema`` knows them, and docs/schemas/ holds them."""


def file_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a file. KeyError where none has that name."""
    file = FILES[name]
    [root], named = schemas_of([file.kind])
    file.adapt(named)
    return {"$schema": DIALECT, "title": f"tidegate: {name}", "description": file.what, **root, "$defs": named}


def _unsigned(schema: Schema) -> None:
    schema["required"] = [name for name in schema["required"] if name not in FILLED_IN]


def _moved(schema: Schema, names: tuple[str, ...]) -> Schema:
    return {name: schema.pop(name) for name in names if name in schema}
