"""Records of a real log against what is published about them: each must be one of the messages of its topic."""

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import yaml
from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

PUBLISHED = Path(__file__).parents[2] / "docs" / "asyncapi.yaml"
DOCUMENT = "urn:asyncapi"


@cache
def document() -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(PUBLISHED.read_text(), Loader=yaml.CSafeLoader)
    return found


@cache
def validator(message: str) -> Draft7Validator:
    """Of the payload of a message; references lead into the document."""
    registry = Registry().with_resource(DOCUMENT, Resource.from_contents(document(), default_specification=DRAFT7))
    return Draft7Validator({"$ref": f"{DOCUMENT}#/components/messages/{message}/payload"}, registry=registry)


def why_none(topic: str, value: bytes) -> dict[str, str]:
    """Why a value is none of a topic's messages, for each of them; empty: it is one."""
    told: dict[str, str] = {}
    for name in document()["channels"][topic]["messages"]:
        message = f"{topic}.{name}"
        published = document()["components"]["messages"][message]
        if "payload" not in published:
            return {}
        wrong = fault(message, published, value)
        if wrong is None:
            return {}
        told[name] = wrong
    return told


def fault(message: str, published: dict[str, Any], value: bytes) -> str | None:
    packed = published["contentType"] == "application/msgpack" or value[:1] >= b"\x80"
    # Through JSON, in which bytes are base64: that is how the schema tells of them.
    plain = json.loads(msgspec.json.encode(msgspec.msgpack.decode(value, strict=False))) if packed else json.loads(value)
    errors = list(validator(message).iter_errors(plain))
    if not errors and "allOf" in published["payload"]:
        inside = published["payload"]["allOf"][1]["properties"]["payload"]["contentSchema"]["$ref"]
        sealed = validator_of(inside)
        errors = list(sealed.iter_errors(json.loads(base64.b64decode(plain["payload"]))))
    return "; ".join(f"{error.json_path}: {error.message[:200]}" for error in errors) or None


@cache
def validator_of(reference: str) -> Draft7Validator:
    registry = Registry().with_resource(DOCUMENT, Resource.from_contents(document(), default_specification=DRAFT7))
    return Draft7Validator({"$ref": f"{DOCUMENT}{reference}"}, registry=registry)
