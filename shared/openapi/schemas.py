"""JSON Schema in few words: the values that the document is made of. Pure.

https://json-schema.org/draft/2020-12
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import NoneType
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints

Schema: TypeAlias = dict[str, Any]

ANYTHING: Schema = {}
TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
COUNTS: Schema = {"type": "object", "additionalProperties": WHOLE}
TIME: Schema = {"type": "integer", "description": "Unix seconds."}
_PLAIN: dict[Any, Schema] = {str: TEXT, int: WHOLE, float: NUMBER, bool: FLAG}


def ref(name: str) -> Schema:
    """Return a reference to a schema of the document's components."""
    return {"$ref": f"#/components/schemas/{name}"}


def described(schema: Schema, text: str) -> Schema:
    """Return a schema with a description."""
    return {**schema, "description": text}


def or_null(schema: Schema) -> Schema:
    """Return the schema of a value that may also be null."""
    is_plain = isinstance(schema.get("type"), str) and not schema.keys() & {"enum", "const"}
    return {**schema, "type": [schema["type"], "null"]} if is_plain else {"anyOf": [schema, {"type": "null"}]}


def const(text: str) -> Schema:
    """Return the schema of one text."""
    return {"type": "string", "const": text}


def one_text_of(values: Iterable[str]) -> Schema:
    """Return the schema of some texts, such as the members of a StrEnum."""
    return {"type": "string", "enum": [str(one) for one in values]}


def text(pattern: str = "", *, least: int = 0, most: int = 0) -> Schema:
    """Return the schema of a text with a pattern for the whole of it, and with a least and a greatest length."""
    bounds: Schema = {"minLength": least} if least else {}
    bounds |= {"maxLength": most} if most else {}
    return TEXT | ({"pattern": f"^(?:{pattern})$"} if pattern else {}) | bounds


def list_of(schema: Schema, *, least: int = 0, most: int = 0) -> Schema:
    """Return the schema of a list, with the least and the greatest number of its elements."""
    bounds: Schema = {"minItems": least} if least else {}
    return {"type": "array", "items": schema} | bounds | ({"maxItems": most} if most else {})


def record(fields: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None, about: str = "") -> Schema:
    """Return the schema of an object with these members. Those of `fields` are always present."""
    found: Schema = {"type": "object", "properties": {**fields, **(optional or {})}}
    found |= {"required": list(fields)} if fields else {}
    return found | ({"description": about} if about else {})


def typed(shape: type, about: str = "", **known: Schema) -> Schema:
    """Return the schema of a TypedDict or a dataclass. `known` are the members of which more is known than the type.

    Raises TypeError if one of these is no member of it.
    """
    hints = get_type_hints(shape)
    if strange := known.keys() - hints.keys():
        raise TypeError(f"{shape.__name__} has no {', '.join(sorted(strange))}")
    fields = {name: known.get(name) or of_hint(hint) for name, hint in hints.items()}
    needed = getattr(shape, "__required_keys__", hints.keys())
    always = {name: schema for name, schema in fields.items() if name in needed}
    return record(always, {name: schema for name, schema in fields.items() if name not in needed}, about)


def of_hint(hint: Any) -> Schema:
    """Return the schema of the values of a type hint. Raises KeyError for a type that has none."""
    inner, kind = get_args(hint), get_origin(hint) or hint
    if NoneType in inner:
        return or_null(of_hint(next(one for one in inner if one is not NoneType)))
    if kind is list:
        return list_of(of_hint(inner[0]))
    if kind in (dict, Mapping) or hint is Any:
        return OBJECT
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return one_text_of(kind)
    return _PLAIN[kind]
