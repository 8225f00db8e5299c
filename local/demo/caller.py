"""A caller of the running stack. If a call fails, it reports which part failed."""

from types import TracebackType
from typing import Any, Self

import httpx

from local.stack.process import PartError
from local.stack.stack import Stack

CALL_DEADLINE_S = 30.0
POLL_AFTER_S = 1.0

Response = dict[str, Any]


class Caller:
    """Starts responses and polls them with their continuation token."""

    def __init__(self, running: Stack) -> None:
        self._running = running
        self._client = httpx.Client(
            base_url=running.base_url,
            headers={"Authorization": f"Bearer {running.credentials.api_key}"},
            timeout=CALL_DEADLINE_S,
            trust_env=False,
        )
        self.polls = 0
        self.poll_after_s = POLL_AFTER_S

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def submit(self, model: str, text: str, instructions: str, callback_url: str) -> Response:
        """Start a background response and return it with its continuation token."""
        body = {
            "model": model,
            "input": text,
            "instructions": instructions,
            "background": True,
            "callback_url": callback_url,
        }
        return self._call("POST", "/responses", json=body)

    def poll(self, token: str) -> Response:
        """Return the current response. `poll_after_s` is then the time to wait before the next poll."""
        self.polls += 1
        return self._call("GET", f"/responses/{token}")

    def _call(self, method: str, path: str, **body: Any) -> Response:
        try:
            answer = self._client.request(method, path, **body)
        except httpx.TransportError as error:
            self._running.check()
            raise PartError("host", f"{method} {path}: {error}") from error
        if not answer.is_success:
            raise PartError("host", f"{method} {path} answered {answer.status_code}: {answer.text}")
        self.poll_after_s = float(answer.headers.get("openai-poll-after-ms", POLL_AFTER_S * 1000)) / 1000
        response: Response = answer.json()
        return response
