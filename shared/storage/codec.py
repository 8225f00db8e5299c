"""The codec for rows: records, alarms and attempts as the JSON of a row's column `facts`.

    encode   omits what has its default value, and flattens the groups of a record
    decode   uses defaults for what is missing, and keeps what it does not know

So an older version reads what a newer one wrote. Members that it does not know, at any depth, are kept in `unknown` and
written again. If a member is known but its value is not, the row cannot be read, and the error names the member.

Every row carries the version of its format. A change that only adds members keeps the version. A change of a member's
meaning raises it, and must be preceded by a release that understands both.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import StrEnum
from functools import partial
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import orjson

from shared.core import keys
from shared.core.alarms import Alarm, alarm_of
from shared.core.entries import DeliveryEntry, Entry
from shared.core.erasures import Erasure
from shared.core.errors import UnreadableRow
from shared.core.outcomes import AttemptEntry
from shared.core.records import Record
from shared.core.usage import UsageSums

ROW_VERSION = 2  # version 1 wrote no number
VERSION = "row_version"
# Attributes that a row has in its key, in a separate column, or as its ETag.
_ELSEWHERE: Mapping[type[Any], frozenset[str]] = {
    Record: frozenset({"body", "write_id", "etag"}),
    Alarm: frozenset({"due_ms", "kind", "id", "target", "etag"}),
    Entry: frozenset({"id", "created_ms"}),
    DeliveryEntry: frozenset({"id", "target", "at_ms"}),
}
_UNKNOWN = "unknown"
T = TypeVar("T")


def encode_record(record: Record) -> str:
    """Return the column `facts` of a record's row: everything but the body, the write id and the ETag."""
    return _text(_encoded(record))


def decode_record(facts: str, *, body: bytes, write_id: str, etag: str) -> Record:
    """Return the record of a row. Raises UnreadableRow if `facts` does not contain one."""
    return _built(Record, _object(facts), body=body, write_id=write_id, etag=etag)


def encode_alarm(alarm: Alarm) -> str:
    """Return the column `facts` of an alarm's row: everything that is not in its row key."""
    return _text(_encoded(alarm))


def decode_alarm(key: str, facts: str, etag: str) -> Alarm:
    """Return the alarm of a row. Raises UnreadableRow if the key or `facts` is not that of an alarm."""
    try:
        due_ms, kind, response_id, target = (named := alarm_of(key)).due_ms, named.kind, named.id, named.target
    except ValueError:
        raise UnreadableRow("RowKey: not the key of an alarm") from None
    return _built(Alarm, _object(facts), due_ms=due_ms, kind=kind, id=response_id, target=target, etag=etag)


def encode_attempt(entry: AttemptEntry) -> str:
    """Return the column `facts` of a delivery attempt's row."""
    return _text({name: getattr(entry, name) for name in _codec(AttemptEntry).columns})


def decode_attempt(facts: str) -> AttemptEntry:
    """Return the entry of a delivery attempt. Raises UnreadableRow if `facts` does not contain one."""
    return _built(AttemptEntry, _object(facts))


def encode_entry(entry: Entry | DeliveryEntry) -> str:
    """Return the column `facts` of a row of the lists: everything that is not in its row key."""
    return _text(_encoded(entry))


def decode_entry(key: str, facts: str) -> Entry:
    """Return the entry of a row of the lists. Raises UnreadableRow if the key or `facts` is not that of an entry."""
    try:
        named = keys.parse_entry_key(key)
    except ValueError:
        raise UnreadableRow("RowKey: not the key of an entry") from None
    return _built(Entry, _object(facts), id=named.id, created_ms=named.created_ms)


def decode_delivery_entry(key: str, facts: str) -> DeliveryEntry:
    """Return the delivery of a row of the lists. Rows of older versions say nothing beside their key.

    Raises UnreadableRow if the key or `facts` is not that of a delivery.
    """
    try:
        named = keys.parse_delivery_key(key)
    except ValueError:
        raise UnreadableRow("RowKey: not the key of a delivery") from None
    return _built(DeliveryEntry, _object(facts or "{}"), id=named.id, target=named.target, at_ms=named.at_ms)


def encode_usage(sums: UsageSums) -> str:
    """Return the column `facts` of a row of sums."""
    return _text(_encoded(sums))


def decode_usage(_key: str, facts: str) -> UsageSums:
    """Return the sums of a row. Raises UnreadableRow if `facts` does not contain them."""
    return _built(UsageSums, _object(facts))


def encode_erasure(erasure: Erasure) -> str:
    """Return the column `facts` of an erasure's row."""
    return _text(_encoded(erasure))


def decode_erasure(facts: str) -> Erasure:
    """Return the erasure of a row. Raises UnreadableRow if `facts` does not contain one."""
    return _built(Erasure, _object(facts))


def _text(said: dict[str, Any]) -> str:
    """Return the JSON text of a row with the version of its format.

    If a newer version wrote the row before, its version is kept.
    """
    return orjson.dumps({VERSION: ROW_VERSION, **said}).decode()


def _object(facts: object) -> dict[str, Any]:
    """Return a row's JSON object, without its version unless that is newer than ours.

    Raises UnreadableRow if `facts` is not a JSON object.
    """
    try:
        loaded = orjson.loads(facts) if isinstance(facts, str) else None
    except orjson.JSONDecodeError:
        loaded = None
    if not isinstance(loaded, dict):
        raise UnreadableRow("facts: not a JSON object")
    version = loaded.pop(VERSION, None)
    if isinstance(version, int) and version > ROW_VERSION:
        loaded[VERSION] = version
    return loaded


# How rows are read and written


@dataclass(frozen=True, slots=True)
class _Column:
    """A member of a row: where its value is kept, its default, and how the value is read and written."""

    group: str  # the attribute of the record that has the value, or empty for the record
    attribute: str
    default: Any
    read: Callable[[Any], Any]
    write: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Codec:
    """The columns of a class by name, and the classes of its groups."""

    columns: Mapping[str, _Column]
    groups: Mapping[str, type[Any]]
    required: frozenset[str]  # attributes without a default
    keeps_unknown: bool


_codecs: dict[type[Any], _Codec] = {}


def _codec(cls: type[Any]) -> _Codec:
    """Return the codec of a class. It is built once per class."""
    if cls not in _codecs:
        _codecs[cls] = _new_codec(cls)
    return _codecs[cls]


def _new_codec(cls: type[Any]) -> _Codec:
    hints = get_type_hints(cls)
    groups: dict[str, type[Any]] = {name: kind for name, kind in hints.items() if _is_class(kind)}
    columns = _columns(cls)
    for group, kind in groups.items():
        columns |= _columns(kind, group)
    required = frozenset(column.attribute for column in columns.values() if column.default is MISSING)
    return _Codec(columns, groups, required, _UNKNOWN in hints)


def _columns(cls: type[Any], group: str = "") -> dict[str, _Column]:
    hints, leaves_out = get_type_hints(cls), {*_ELSEWHERE.get(cls, ()), _UNKNOWN}
    return {
        field.metadata.get("column", field.name): _Column(
            group, field.name, _default(field), *_conversion(hints[field.name])
        )
        for field in fields(cls)
        if field.name not in leaves_out and not _is_class(hints[field.name])
    }


def _encoded(value: Any) -> dict[str, Any]:
    codec = _codec(type(value))
    parts = {"": value, **{group: getattr(value, group) for group in codec.groups}}
    said = {
        name: column.write(found)
        for name, column in codec.columns.items()
        if (found := getattr(parts[column.group], column.attribute)) != column.default
    }
    return {**said, **value.unknown} if codec.keeps_unknown else said


def _built(cls: type[T], loaded: Mapping[str, Any], **elsewhere: Any) -> T:
    """Return an instance from a row's JSON object and from the values that the row has elsewhere.

    Raises UnreadableRow if a value has the wrong type or a required one is missing.
    """
    codec = _codec(cls)
    parts: dict[str, dict[str, Any]] = {"": elsewhere}
    unknown: dict[str, Any] = {}
    for name, value in loaded.items():
        if column := codec.columns.get(name):
            parts.setdefault(column.group, {})[column.attribute] = _read(name, column, value)
        else:
            unknown[name] = value
    given = parts.pop("")
    given |= {group: codec.groups[group](**values) for group, values in parts.items()}
    if codec.keeps_unknown:
        given[_UNKNOWN] = unknown
    if missing := codec.required - given.keys():
        raise UnreadableRow(f"{cls.__name__}: {min(missing)} is missing")
    return cls(**given)


def _read(name: str, column: _Column, value: Any) -> Any:
    try:
        return column.read(value)
    except (TypeError, ValueError):
        raise UnreadableRow(f"{name}: not a value that this version knows") from None


def _conversion(kind: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return two functions for values of a type: one reads them from JSON, the other writes them."""
    if get_origin(kind) is tuple:
        element = get_args(kind)[0]
        read, write = (partial(_member, element), _encoded) if _is_class(element) else _conversion(element)
        return (lambda given: tuple(map(read, _list(given)))), (lambda values: list(map(write, values)))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind, str
    return partial(_plain, _plain_types(kind)), _same


def _plain_types(kind: Any) -> tuple[type, ...]:
    """Return the types that a value from JSON may have. JSON does not distinguish whole numbers from others."""
    kinds = get_args(kind) if get_origin(kind) is UnionType else (kind,)
    types = tuple(get_origin(one) or one for one in kinds)
    return (*types, int) if float in types else types


def _plain(types: tuple[type, ...], value: Any) -> Any:
    """Return a value that has one of the types. The values of a dict must be strings.

    Raises TypeError for any other value.
    """
    if type(value) not in types:
        raise TypeError
    if isinstance(value, dict) and not all(isinstance(text, str) for text in value.values()):
        raise TypeError
    return value


def _same(value: Any) -> Any:
    return value


def _member(cls: type[Any], value: Any) -> Any:
    if not isinstance(value, dict):
        raise TypeError
    return _built(cls, value)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _is_class(kind: Any) -> bool:
    """Return whether a type is a dataclass."""
    return isinstance(kind, type) and is_dataclass(kind)


def _default(field: Field[Any]) -> Any:
    """Return the default of a field, or MISSING."""
    if field.default is not MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not MISSING else MISSING
