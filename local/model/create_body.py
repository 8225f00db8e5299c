"""Checks of the body of a create call. Unknown fields are allowed."""

from typing import Any

import orjson

from local.model.behaviour import Behaviour, behaviour_of
from local.model.errors import ApiError

TYPES: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "input": (str, list),
    "instructions": (str, list),
    "background": (bool,),
    "stream": (bool,),
    "store": (bool,),
    "tools": (list,),
    "metadata": (dict,),
    "previous_response_id": (str,),
}
LISTS_OF_OBJECTS = ("input", "tools")


def parse(raw: bytes) -> dict[str, Any]:
    """Return the body. Raise a 400 that names the field if a field of TYPES is not null and has the wrong type."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise ApiError(400, "We could not parse the JSON body of your request.") from None
    if not isinstance(body, dict):
        raise ApiError(400, "The body must be a JSON object.")
    for name, types in TYPES.items():
        if body.get(name) is not None and not isinstance(body[name], types):
            raise _wrong_type(name)
    for name in LISTS_OF_OBJECTS:
        if isinstance(body.get(name), list) and not all(isinstance(entry, dict) for entry in body[name]):
            raise _wrong_type(name)
    return body


def _wrong_type(name: str) -> ApiError:
    return ApiError(400, f"Invalid type for '{name}'.", param=name, code="invalid_type")


def requested_behaviour(body: dict[str, Any]) -> Behaviour:
    """Return what the requested model does. Raise a 400 if the model is missing or does not exist."""
    model = body.get("model")
    if model is None:
        raise ApiError(400, "Missing required parameter: 'model'.", param="model", code="missing_required_parameter")
    behaviour = behaviour_of(model)
    if behaviour is None:
        message = f"The model '{model}' does not exist. This simulation has models such as sim-instant and sim-2s."
        raise ApiError(400, message, param="model", code="model_not_found")
    return behaviour
