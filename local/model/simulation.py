"""The responses that the simulated model remembers, and the operations on them."""

import secrets
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate, takewhile
from typing import Any

from local.model.behaviour import Status
from local.model.conversation import Item, call_names, input_items, tool_outputs
from local.model.create_body import requested_behaviour
from local.model.errors import ApiError, not_found
from local.model.response_object import WITH_OUTPUT
from local.model.work import Work

MEMORY_S = 3600


class Simulation:
    """All responses of the last hour. `now_s` is monotonic. Adding `unix_offset_s` gives unix seconds."""

    def __init__(self, unix_offset_s: float) -> None:
        self._unix_offset_s = unix_offset_s
        self.forget_all()

    def forget_all(self) -> None:
        """Forget all responses and keys."""
        self._works: dict[str, Work] = {}
        self._by_key: dict[str, Work] = {}
        self._asked: Counter[str] = Counter()

    def repeated(self, key: str | None) -> Work | None:
        """Return the response that was started with this key, or None. An abandoned response does not count.

        Each call with a key counts as one request to start its work.
        """
        if key:
            self._asked[key] += 1
        known = self._by_key.get(key) if key else None
        return None if known is None or known.aborted else known

    def start(self, body: dict[str, Any], key: str | None, now_s: float, keepalive_s: float | None = None) -> Work:
        """Start a response and remember its key. Raise a 400 if the body refers to something that does not exist.

        Its stream is never silent for longer than `keepalive_s`.
        """
        self._forget_old(now_s)
        work = self._new(body, key, now_s)
        work.keepalive_s = keepalive_s
        self._works[work.id] = work
        if key:
            self._by_key[key] = work
        return work

    def _new(self, body: dict[str, Any], key: str | None, now_s: float) -> Work:
        behaviour = requested_behaviour(body)
        suffix = secrets.token_hex(16)
        history = self._history(body.get("previous_response_id"), now_s)
        given = input_items(body.get("input") or [], suffix)
        _check_calls([*history, *given], given)
        unix_s = now_s + self._unix_offset_s
        return Work(f"resp_{suffix}", body, behaviour, given, history, now_s, unix_s, key)

    def _history(self, previous_id: str | None, now_s: float) -> list[Item]:
        if previous_id is None:
            return []
        previous = self._works.get(previous_id)
        if previous is None or not previous.retrievable(now_s):
            message = f"Previous response with id '{previous_id}' not found."
            raise ApiError(400, message, param="previous_response_id", code="previous_response_not_found")
        if not previous.finished(now_s):
            message = f"Previous response with id '{previous_id}' has not finished."
            raise ApiError(400, message, param="previous_response_id")
        answered = [] if previous.stopped.is_set() else previous.output
        return [*previous.history, *previous.given, *answered]

    def find(self, response_id: str, now_s: float) -> Work:
        """Return a response that clients may see. Raise a 404 otherwise."""
        work = self._works.get(response_id)
        if work is None or not work.retrievable(now_s):
            raise not_found(response_id)
        return work

    def cancel(self, response_id: str, now_s: float) -> Work:
        """Stop a background response and return it.

        A cancelled response does not change. Raise a 400 for a foreground response and for one that has ended in
        another way.
        """
        work = self.find(response_id, now_s)
        if not work.background:
            raise ApiError(400, "Cannot cancel a synchronous response.")
        status = work.status(now_s)
        if work.finished(now_s) and status is not Status.CANCELLED:
            article = "an" if status is Status.INCOMPLETE else "a"
            raise ApiError(400, f"Cannot cancel {article} {status} response.")
        if status is not Status.CANCELLED:
            work.stop(now_s)
        return work

    def delete(self, response_id: str, now_s: float) -> None:
        """Delete a finished response. Its id is unknown afterwards."""
        work = self.find(response_id, now_s)
        if not work.finished(now_s):
            raise ApiError(400, "Cannot delete an in-flight response.")
        work.deleted = True

    def abandon(self, work: Work, now_s: float) -> None:
        """Stop work whose client has disconnected, unless it has finished or runs in the background."""
        if not work.background and not work.finished(now_s):
            work.stop(now_s)
            work.aborted = True

    def forget_unfinished(self, now_s: float) -> None:
        """Forget all unfinished responses and their keys, as a server does when it restarts."""
        for work in self._works.values():
            work.deleted |= not work.finished(now_s)
        self._by_key = {key: work for key, work in self._by_key.items() if work.finished(now_s)}

    def starts(self) -> dict[str, float]:
        """Return when each response started, by idempotency key in unix seconds. The first one with a key counts."""
        return {work.key: work.started_unix_s for work in reversed(self._works.values()) if work.key}

    def completions(self, now_s: float) -> dict[str, float]:
        """Return when each response completed, by idempotency key in unix seconds. The first one with a key counts."""
        completed = (work for work in self._works.values() if work.status(now_s) is Status.COMPLETED)
        return {work.key: work.ends_unix_s for work in reversed(list(completed)) if work.key}

    def polled(self) -> dict[str, list[float]]:
        """Return the ages in seconds at which each response was retrieved, by key."""
        return {work.key: work.polled_s for work in self._works.values() if work.key}

    def ages(self, now_s: float) -> dict[str, float]:
        """Return the age of each response in seconds, by key."""
        return {work.key: work.age_s(now_s) for work in self._works.values() if work.key}

    def stats(self, now_s: float) -> dict[str, Any]:
        """Return counts of all remembered responses. `started` counts by idempotency key, or by id without a key.

        `most_at_once` is how many were at work at one time. `asked_twice` counts the keys with more than one request to
        start work, whether or not the work was started again. `models` counts by the model that was asked for. The
        tokens are those of works that have ended with an output.
        """
        works = self._works.values()
        started = Counter(work.key or work.id for work in works)
        return {
            "started": started,
            "started_twice": sum(times > 1 for times in started.values()),
            "asked_twice": sum(times > 1 for times in self._asked.values()),
            "models": Counter(str(work.request.get("model")) for work in works),
            "aborted": sum(work.aborted for work in works),
            "cancelled": sum(work.stopped.is_set() and not work.aborted for work in works),
            "most_at_once": _most_at_once(works),
            **_used([work for work in works if work.status(now_s) in WITH_OUTPUT]),
        }

    def _forget_old(self, now_s: float) -> None:
        old = list(takewhile(lambda work: work.age_s(now_s) > MEMORY_S, self._works.values()))
        for work in old:
            del self._works[work.id]
            if work.key and self._by_key.get(work.key) is work:
                del self._by_key[work.key]


def _most_at_once(works: Iterable[Work]) -> int:
    """Return how many responses were at work at the same time, at most."""
    spans = [(work.started_s, work.started_s + work.duration_s) for work in works]
    changes = sorted([(end, -1) for _, end in spans] + [(start, 1) for start, _ in spans])
    return max(accumulate(change for _, change in changes), default=0)


def _used(works: list[Work]) -> dict[str, int]:
    return {name: sum(work.usage[name] for work in works) for name in ("input_tokens", "output_tokens")}


def _check_calls(known: list[Item], given: list[Item]) -> None:
    asked = call_names(known)
    for output in tool_outputs(given):
        if str(output.get("call_id")) not in asked:
            message = f"No tool call found for function call output with call_id {output.get('call_id')}."
            raise ApiError(400, message, param="input")
