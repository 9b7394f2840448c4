"""AsyncAPI 3.1 of every topic: made of the table of topics, of what travels on each, and of the structs that decode it."""

from typing import Any, get_args

import yaml

from tidegate.describe.schema import Schema, one_line, schemas_of
from tidegate.wire.cloudevents import EVENTS
from tidegate.wire.envelope import Envelope, payload_type
from tidegate.wire.flagstamps import HEADER
from tidegate.wire.messages import MESSAGES, Form, Message
from tidegate.wire.topics import TOPICS, Role, Topic

REFER = "#/components/schemas/{name}"
BINDING = "0.5.0"
INFO = (
    "Every topic of one fleet: what travels on it, who writes it and who reads it. Commands are levels and signed: the JSON of a "
    "DSSE envelope, in which the document's own JSON stands in base64. Control topics carry CloudEvents 1.0, in binary mode."
)


def asyncapi(version: str, prefix: str = "tidegate.") -> dict[str, Any]:
    """Return the document for the topics under a prefix. ``version`` is Tidegate's."""
    kinds: dict[Any, None] = {
        kind: None for messages in MESSAGES.values() for one in messages for kind in (one.holds, one.stamp) if kind
    }
    roots, schemas = schemas_of([*kinds, Envelope], REFER)
    references = dict(zip([*kinds, Envelope], roots, strict=True))
    return {
        "asyncapi": "3.1.0",
        "info": {"title": "Tidegate", "version": version, "description": INFO, "license": {"name": "Apache-2.0"}},
        "defaultContentType": Form.JSON.value,
        "channels": {topic.name: _channel(topic, prefix) for topic in TOPICS},
        "operations": {
            f"{role}.{action}.{topic.name}": {
                "action": action,
                "channel": {"$ref": f"#/channels/{topic.name}"},
                "tags": [{"name": role}],
            }
            for role in get_args(Role)
            for action in ("receive", "send")
            for topic in TOPICS
            if role in (topic.readers if action == "receive" else topic.writers)
        },
        "components": {
            "messages": {
                f"{topic.name}.{one.name}": _message(topic, one, references) for topic in TOPICS for one in MESSAGES[topic.name]
            },
            "schemas": {name: _draft_07(schema) for name, schema in sorted(schemas.items())},
        },
    }


def as_yaml(document: dict[str, Any]) -> str:
    """Return a document as it is published, without references of YAML's own: not every reader follows them."""

    class Whole(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the base class's signature
            return True

    return yaml.dump(document, Dumper=Whole, sort_keys=False, allow_unicode=True, width=130)


def _channel(topic: Topic, prefix: str) -> dict[str, Any]:
    settings = topic.config()
    kept = {
        "cleanup.policy": [settings["cleanup.policy"]],
        "retention.ms": topic.retention_ms,
        "max.message.bytes": topic.message_bytes_max,
    }
    return {
        "address": prefix + topic.name,
        "messages": {one.name: {"$ref": f"#/components/messages/{topic.name}.{one.name}"} for one in MESSAGES[topic.name]},
        "bindings": {
            "kafka": {
                "topic": prefix + topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": kept,
                "bindingVersion": BINDING,
            }
        },
    }


def _message(topic: Topic, message: Message, references: dict[type, Schema]) -> dict[str, Any]:
    told = [message.what or one_line((message.holds.__doc__ if message.holds else None) or "")]
    if message.also is not None:
        told.append(f"Also as {message.also}, told apart by the first byte.")
    found: dict[str, Any] = {
        "name": message.name,
        "summary": " ".join(told),
        "contentType": message.form.value,
        "bindings": {"kafka": {"key": {"type": "string", "description": topic.key}, "bindingVersion": BINDING}},
    }
    if headers := _headers(topic, message):
        found["headers"] = {"type": "object", "properties": headers}
    if message.holds is not None:
        payload = references[message.holds]
        found["payload"] = _sealed(message.holds, payload, references[Envelope]) if message.signed else payload
    return found


def _headers(topic: Topic, message: Message) -> dict[str, Schema]:
    text = {"type": "string"}
    found: dict[str, Schema] = {}
    if kind := EVENTS.get(topic.name):
        found = dict.fromkeys(("ce_id", "ce_source", "ce_subject"), text)
        found |= {"ce_specversion": {"const": "1.0"}, "ce_type": {"const": kind}, "content-type": {"const": Form.JSON.value}}
    if message.stamp is not None:
        found[HEADER] = text | {"description": one_line(message.stamp.__doc__ or ""), "contentMediaType": Form.JSON.value}
    return found


def _sealed(kind: Any, document: Schema, envelope: Schema) -> Schema:
    inside = {"contentEncoding": "base64", "contentMediaType": Form.JSON.value, "contentSchema": document}
    return {"allOf": [envelope, {"properties": {"payloadType": {"const": payload_type(kind)}, "payload": inside}}]}


def _draft_07(schema: Any) -> Any:
    """Return a schema of 2020-12 in the words of draft-07, which is AsyncAPI's own.

    Lists of a fixed form are said otherwise there; what tells the members of a union apart is known from their ``enum``.
    """
    if isinstance(schema, list):
        return [_draft_07(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _draft_07(value) for key, value in schema.items() if key not in ("discriminator", "properties")}
    if "properties" in schema:  # whose keys are names, not words of a schema
        found["properties"] = {name: _draft_07(one) for name, one in schema["properties"].items()}
    if "prefixItems" in found:
        if "items" in found:
            found["additionalItems"] = found.pop("items")
        found["items"] = found.pop("prefixItems")
    return found
