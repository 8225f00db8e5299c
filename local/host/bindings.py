"""A function's bindings as the platform reads them, and conversion between their data and Python values."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import azure.functions as func
from azure.functions.meta import Datum

from local.host.errors import LoadError

RETURN = "$return"
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9]{0,127}|\$return")


@dataclass(frozen=True)
class Binding:
    """One trigger or output of a function. `fields` are the fields of function.json."""

    name: str
    type: str
    is_output: bool
    fields: Mapping[str, Any]

    @property
    def is_trigger(self) -> bool:
        """Whether this binding starts the function."""
        return self.type.lower().endswith("trigger")

    @property
    def is_binary(self) -> bool:
        """Whether the data is bytes. By default it is text, whatever the annotation of the parameter."""
        return str(self.fields.get("dataType", "")).upper() == "BINARY"


def parse(raw: str) -> Binding:
    """Return one binding of `Function.get_raw_bindings()`. Raise LoadError if the platform would refuse it."""
    fields = json.loads(raw)
    binding = Binding(fields["name"], fields["type"], fields["direction"] == "OUT", fields)
    if not _NAME.fullmatch(binding.name):
        raise LoadError(f"the binding name {binding.name!r} is invalid: letters and digits only, a letter first")
    if binding.name == RETURN and not binding.is_output:
        raise LoadError("the $return binding must have direction out")
    return binding


def accepts_input(binding: Binding, annotation: type) -> bool:
    """Return whether a parameter with this annotation can take the binding's data."""
    return _is_generic(annotation) or bool(_converter(binding.type).check_input_type_annotation(annotation))


def accepts_output(binding: Binding, annotation: object) -> bool:
    """Return whether a value with this annotation can be written to the binding."""
    return _is_generic(annotation) or bool(_converter(binding.type).check_output_type_annotation(annotation))


def decode(binding: Binding, annotation: object, datum: Datum, metadata: Mapping[str, Datum]) -> object:
    """Return the Python value that a function receives for the binding's data."""
    if _is_generic(annotation):
        return cast("object", datum.value)
    return cast("object", _converter(binding.type).decode(datum, trigger_metadata=metadata))


def encode(binding_type: str, annotation: object, value: object) -> Datum:
    """Return an output's data for a Python value. Raise TypeError if the output cannot carry it."""
    if _is_generic(annotation):
        return _generic_datum(value)
    try:
        return cast("Datum", _converter(binding_type).encode(value, expected_type=annotation))
    except NotImplementedError:
        raise TypeError(f"a {binding_type} output cannot carry a {type(value).__name__}") from None


def _converter(binding_type: str) -> Any:
    return func.get_binding_registry().get(binding_type)


def _is_generic(annotation: object) -> bool:
    """Return whether the annotation is `str` or `bytes`, which take the data of any binding unchanged.

    So does the platform's worker: a parameter of type `bytes` receives a str if the data is text.
    """
    return annotation in (str, bytes)


def _generic_datum(value: object) -> Datum:
    if isinstance(value, str):
        return Datum(value, "string")
    if isinstance(value, bytes | bytearray):
        return Datum(bytes(value), "bytes")
    raise TypeError(f"an output declared as str or bytes cannot carry a {type(value).__name__}")
