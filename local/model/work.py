"""One response: its request, and its state at a given time. No task runs, because the state follows from the clock."""

import asyncio
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from local.model.answer import made_text, message, reasoning, structured, text_answer, tool_call
from local.model.behaviour import UNFINISHED, Behaviour, Status, Writing
from local.model.conversation import Item, summary_word_count, tool_outputs, word_count


@dataclass(eq=False)
class Work:
    """A response that was started at `started_s`, on the monotonic clock that every `now_s` is read from."""

    id: str
    request: dict[str, Any]
    behaviour: Behaviour
    given: list[Item]
    history: list[Item]
    started_s: float
    started_unix_s: float
    key: str | None = None
    keepalive_s: float | None = None
    stopped_after_s: float | None = None
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    aborted: bool = False
    deleted: bool = False
    polled_s: list[float] = field(default_factory=list)

    @property
    def background(self) -> bool:
        """Whether the work continues without its client."""
        return self.request.get("background") is True

    @property
    def streamed(self) -> bool:
        """Whether the create call asked for a stream."""
        return self.request.get("stream") is True

    @property
    def ends_unix_s(self) -> float:
        """The unix time at which it ends, if nothing stops it before."""
        return self.started_unix_s + self.behaviour.duration_s

    @property
    def duration_s(self) -> float:
        """How long it works, in seconds: up to its end, or until it was stopped."""
        return self.behaviour.duration_s if self.stopped_after_s is None else self.stopped_after_s

    def age_s(self, now_s: float) -> float:
        """Return the time since its start, in seconds."""
        return now_s - self.started_s

    def left_s(self, now_s: float) -> float:
        """Return how long it will still work, in seconds."""
        return max(0.0, self.behaviour.duration_s - self.age_s(now_s))

    def status(self, now_s: float) -> Status:
        """Return the status. A terminal status never changes."""
        return Status.CANCELLED if self.stopped.is_set() else self.status_after(self.age_s(now_s))

    def status_after(self, age_s: float) -> Status:
        """Return the status at an age in seconds, if nothing stops the work before."""
        if age_s >= self.behaviour.duration_s:
            return self.behaviour.ending
        waits = self.background and age_s < self.behaviour.queued_s
        return Status.QUEUED if waits else Status.IN_PROGRESS

    def finished(self, now_s: float) -> bool:
        """Return whether the status is terminal."""
        return self.status(now_s) not in UNFINISHED

    def retrievable(self, now_s: float) -> bool:
        """Return whether clients may see it.

        A deleted response is not visible. A background response is visible at any time, a foreground one only when it
        has finished and is stored.
        """
        stored = self.request.get("store") is not False and self.finished(now_s)
        return not self.deleted and (self.background or stored)

    def stop(self, now_s: float) -> None:
        """Stop unfinished work. Its status is `cancelled` from then on."""
        self.stopped_after_s = self.age_s(now_s)
        self.stopped.set()

    @cached_property
    def output(self) -> list[Item]:
        """The output items at its end: an empty list if it fails, half of the text or call if it ends incomplete."""
        suffix = self.id.removeprefix("resp_")
        if self.behaviour.ending is Status.FAILED:
            return []
        if (tool := self._tool) is not None:
            called = tool_call(tool, self.given, suffix)
            if self.behaviour.ending is Status.INCOMPLETE:
                called |= {"status": "incomplete", "arguments": self._begun(called["arguments"])}
            return [called]
        thoughts = [reasoning(f"Simulated by {self.request['model']}.", suffix)] if self.behaviour.reasons else []
        return [*thoughts, message(self._text, self.behaviour.ending, suffix)]

    @property
    def _text(self) -> str:
        if self.behaviour.writing is not Writing.OUTLINE:
            return made_text(self.behaviour, self.started_unix_s)
        text = text_answer(self.request["model"], self.request.get("instructions"), self.history, self.given)
        match self.request.get("text"):
            case {"format": {"type": "json_schema", "schema": schema}}:
                text = structured(schema, text)
        return self._begun(text) if self.behaviour.ending is Status.INCOMPLETE else text

    @staticmethod
    def _begun(text: str) -> str:
        return text[: len(text) // 2]

    @property
    def _tool(self) -> Item | None:
        """The first function of the request, or None if the model calls no tool or the input has a tool output.

        A model that calls no tool by itself does so if `tool_choice` names a function.
        """
        choice = self.request.get("tool_choice")
        is_forced = isinstance(choice, dict) and choice.get("type") == "function"
        asks = is_forced or (self.behaviour.calls_tool and choice != "none")
        if not asks or tool_outputs(self.given):
            return None
        functions = (tool for tool in self.request.get("tools") or [] if tool.get("type") == "function")
        return next(functions, None)

    @cached_property
    def usage(self) -> dict[str, Any]:
        """The token usage, with words counted as tokens."""
        instructions = str(self.request.get("instructions") or "")
        read = word_count([*self.history, *self.given]) + len(instructions.split())
        thought = summary_word_count(self.output)
        written = word_count(self.output) + thought
        return {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": thought},
            "total_tokens": read + written,
        }
