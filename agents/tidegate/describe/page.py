"""The table of every key of a file, in Markdown, made of the file's JSON Schema."""

import json
from collections.abc import Iterator

from tidegate.describe.files import file_schema
from tidegate.describe.schema import Schema

WORDS = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false", "null": "null"}
HEAD = "| key | what stands there | if left out | meaning |\n|---|---|---|---|\n"


def keys_table(name: str) -> str:
    """Return the table of a file's keys, one line each. ``NAME`` in a key is any name, ``[]`` each entry of a list."""
    schema = file_schema(name)
    rows = _rows(schema, schema["$defs"], "")
    return HEAD + "".join("| " + " | ".join(_cell(one) for one in row) + " |\n" for row in rows)


def _rows(schema: Schema, named: dict[str, Schema], at: str) -> Iterator[tuple[str, str, str, str]]:
    schema = _followed(schema, named)
    for key, found in schema["properties"].items():
        suffix, parts = _inner(found, named)
        about = [found.get("description", "") if "title" in found or "pattern" not in found else ""]
        about += [part.get("description", "") for part in parts if len(parts) == 1]
        yield f"`{at}{key}`", _kind(found, named), _left_out(key, found, schema), " ".join(filter(None, about))
        for part in parts:
            kind = part["properties"].get("kind", {}).get("const")
            yield from _rows(part, named, f"{at}{key}{f'[{kind}]' if kind else suffix}.")


def _inner(found: Schema, named: dict[str, Schema]) -> tuple[str, list[Schema]]:
    """Return how the keys of objects that stand at a key begin, and those objects; none: there stands no object that is known."""
    places = [("", _members(found, named))]
    for one in _members(found, named):
        if isinstance(one.get("items"), dict):
            places.append(("[]", _members(one["items"], named)))
        if isinstance(one.get("additionalProperties"), dict):
            places.append((".NAME", _members(one["additionalProperties"], named)))
    return next(
        ((suffix, objects) for suffix, all_ in places if (objects := [one for one in all_ if one.get("properties")])), ("", [])
    )


def _members(schema: Schema, named: dict[str, Schema]) -> list[Schema]:
    schema = _followed(schema, named)
    options = schema.get("anyOf", schema.get("oneOf"))
    return [one for option in options for one in _members(option, named)] if options else [schema]


def _followed(schema: Schema, named: dict[str, Schema]) -> Schema:
    return named[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _kind(found: Schema, named: dict[str, Schema]) -> str:
    return " or ".join(dict.fromkeys(_word(one, named) for one in _members(found, named)))


def _word(one: Schema, named: dict[str, Schema]) -> str:
    if "const" in one or "enum" in one:
        return ", ".join(f"`{value}`" for value in one.get("enum", [one.get("const")]))
    kind = one.get("type", "")
    if kind == "array":
        return f"a list: {_kind(one['items'], named)}" if isinstance(one.get("items"), dict) else "a list"
    if kind == "object":
        inner = one.get("additionalProperties")
        if one.get("properties"):
            return "keys below"
        return f"names, each with {_kind(inner, named)}" if isinstance(inner, dict) and inner else "an object"
    if "pattern" in one:
        return str(one.get("title") or one.get("description") or WORDS[kind])
    low, high = one.get("minimum"), one.get("maximum")
    bounds = f" of {low} to {high}" if low is not None and high is not None else f" of at least {low}" if low is not None else ""
    return WORDS.get(kind, "anything") + bounds


def _left_out(key: str, found: Schema, schema: Schema) -> str:
    if key in schema.get("required", ()):
        return "must be there"
    default = found.get("default")
    return f"`{json.dumps(default)}`" if default not in (None, "", [], {}) else ""


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
