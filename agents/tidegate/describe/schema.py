"""JSON Schemas (2020-12) of structs, with what their docstrings say of each field."""

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.inspect import StructType, multi_type_info

Schema = dict[str, Any]
HERE = "#/$defs/{name}"
INSIDE = ("types", "type", "item_type", "item_types", "key_type", "value_type")
"""Where msgspec keeps the parts of a type that is made of others."""


@cache
def field_docs(kind: type[Struct]) -> dict[str, str]:
    """Return what stands below the fields of a struct in its source: the name of each such field to one line of text."""
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)  # noqa: S101 - a struct is a class
    found = {}
    for statement, below in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and isinstance(below, ast.Expr):
            text = ast.literal_eval(below.value) if isinstance(below.value, ast.Constant) else None
            if isinstance(text, str):
                found[statement.target.id] = one_line(text)
    return found


def one_line(text: str) -> str:
    """Return a docstring as it is shown: in one line, without the marks of code.

    >>> one_line("Exactly one of ``max``   and ``min``.")
    'Exactly one of max and min.'
    """
    return " ".join(text.replace("``", "").split())


def schemas_of(kinds: Sequence[Any], refer: str = HERE) -> tuple[list[Schema], dict[str, Schema]]:
    """Return a schema of each type, and the named ones that they refer to in the form ``refer``."""
    roots, named = msgspec.json.schema_components(kinds, ref_template=refer)
    for schema in named.values():
        if "description" in schema:
            schema["description"] = one_line(schema["description"])
    for struct in _structs(multi_type_info(kinds)):
        # Two of one name stand under their modules' names.
        whole = f"{struct.cls.__module__}.{struct.cls.__qualname__}"
        _describe(named[whole if whole in named else struct.cls.__name__], struct)
    return list(roots), named


def _describe(schema: Schema, struct: StructType) -> None:
    docs = field_docs(struct.cls)
    names = [field.encode_name for field in struct.fields]
    # One that is written as a list has places instead of properties, and they get their names here.
    places = schema.get("properties") or dict(zip(names, schema.get("prefixItems", ()), strict=True))
    for field in struct.fields:
        found = places[field.encode_name]
        if struct.array_like:
            found["title"] = field.encode_name
        if text := docs.get(field.name):
            if "description" in found:  # how its type is written
                found["title"] = found["description"]
            found["description"] = text
        if isinstance(found.get("default"), dict):
            del found["default"]  # it is said by the part's own fields


def _structs(infos: Iterable[object]) -> Iterator[StructType]:
    seen: set[type] = set()
    waiting = list(infos)
    while waiting:
        info = waiting.pop()
        if isinstance(info, StructType):
            if info.cls in seen:
                continue
            seen.add(info.cls)
            yield info
            waiting += [field.type for field in info.fields]
        else:
            for value in (getattr(info, name, None) for name in INSIDE):
                waiting += value if isinstance(value, tuple) else [] if value is None else [value]
