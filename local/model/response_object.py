"""The Response object of the contract. It always has every field, with null for a missing value."""

from typing import Any

from local.model.behaviour import Status
from local.model.work import Work

ECHOED: dict[str, Any] = {
    "background": False,
    "frequency_penalty": 0.0,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
WITH_OUTPUT = frozenset({Status.COMPLETED, Status.INCOMPLETE})


def response_object(work: Work, status: Status) -> dict[str, Any]:
    """Return the response object in that status."""
    return {
        "id": work.id,
        "object": "response",
        "created_at": int(work.started_unix_s),
        "completed_at": int(work.ends_unix_s) if status is Status.COMPLETED else None,
        "status": status,
        "error": _error(work) if status is Status.FAILED else None,
        "incomplete_details": {"reason": "max_output_tokens"} if status is Status.INCOMPLETE else None,
        "model": work.request["model"],
        "output": work.output if status in WITH_OUTPUT else [],
        "usage": work.usage if status in WITH_OUTPUT else None,
        **_echoed(work.request),
    }


def _echoed(request: dict[str, Any]) -> dict[str, Any]:
    given = {name: request[name] for name in ECHOED.keys() & request.keys() if request[name] is not None}
    return ECHOED | given


def _error(work: Work) -> dict[str, str]:
    return {
        "code": "server_error",
        "message": f"Simulated failure, as the model {work.request['model']} promises.",
    }
