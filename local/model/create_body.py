"""Checks of the body of a create call. Unknown fields are allowed."""

from typing import Any

import orjson

from local.model.behaviour import Behaviour, behaviour_of
from local.model.errors import ApiError

_NUMBER = (int, float)
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
    **dict.fromkeys(("max_output_tokens", "max_tool_calls", "top_logprobs"), (int,)),
    **dict.fromkeys(("temperature", "top_p", "presence_penalty", "frequency_penalty"), _NUMBER),
    **dict.fromkeys(("prompt_cache_key", "safety_identifier", "service_tier", "truncation", "user"), (str,)),
    "parallel_tool_calls": (bool,),
    "reasoning": (dict,),
    "text": (dict,),
    "tool_choice": (str, dict),
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
        if body.get(name) is not None and not _is_one_of(body[name], types):
            raise _wrong_type(name)
    for name in LISTS_OF_OBJECTS:
        if isinstance(body.get(name), list) and not all(isinstance(entry, dict) for entry in body[name]):
            raise _wrong_type(name)
    if not all(isinstance(tool.get("type"), str) for tool in body.get("tools") or ()):
        raise _wrong_type("tools")
    return body


def _is_one_of(value: object, types: tuple[type, ...]) -> bool:
    """Return whether a value has one of the types. True and False are no numbers, as they are for Python."""
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


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
