"""Calling a function: its arguments, its context, and its outputs after success."""

import asyncio
import contextvars
import functools
import threading
import uuid
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import azure.functions as func

from local.host import bindings, logs
from local.host.bindings import RETURN
from local.host.functions import Function
from local.host.messages import output_bodies
from local.host.queue_outputs import Outbox


class Invoker:
    """Runs functions: asynchronous ones on the event loop, the others in the pool.

    `invocations` counts the calls by type of trigger.
    """

    def __init__(self, outbox: Outbox, pool: Executor, directory: Path) -> None:
        self._outbox = outbox
        self._pool = pool
        self._directory = directory
        self.invocations: Counter[str] = Counter()

    async def invoke(self, function: Function, trigger_value: object) -> object:
        """Return what the function returned, after writing its outputs. If it raises, nothing is written."""
        self.invocations[function.trigger.type] += 1
        outs = {name: _Out() for name in function.outputs if name != RETURN}
        arguments = {function.trigger.name: trigger_value, **outs}
        if function.wants_context:
            arguments["context"] = _Context(function.name, str(uuid.uuid4()), str(self._directory))
        with logs.invocation():
            returned = await self._call(function, arguments)
        if returned is not None and not function.may_return:
            raise TypeError(f"function {function.name} returned a value without a $return binding")
        await self._write(function, {**{name: out.get() for name, out in outs.items()}, RETURN: returned})
        return returned

    async def _call(self, function: Function, arguments: Mapping[str, object]) -> object:
        call = functools.partial(function.call, **arguments)
        if function.is_async:
            return await call()
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._pool, context.run, call)

    async def _write(self, function: Function, values: Mapping[str, object]) -> None:
        for name, address in function.outputs.items():
            if values[name] is not None:
                datum = bindings.encode("queue", function.types[name], values[name])
                await self._outbox.send(address, output_bodies(datum))


class _Out(func.Out[Any]):
    def __init__(self) -> None:
        self._value: Any = None

    def set(self, val: Any) -> None:
        self._value = val

    def get(self) -> Any:
        return self._value


@dataclass(frozen=True)
class _Trace:
    """An empty trace, because nothing upstream of a local host starts one."""

    trace_parent: str = ""
    trace_state: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


class _Context(func.Context):
    def __init__(self, function_name: str, invocation_id: str, directory: str) -> None:
        self._function_name = function_name
        self._invocation_id = invocation_id
        self._directory = directory

    @property
    def function_name(self) -> str:
        return self._function_name

    @property
    def invocation_id(self) -> str:
        return self._invocation_id

    @property
    def function_directory(self) -> str:
        return self._directory

    @property
    def thread_local_storage(self) -> Any:
        return threading.local()

    @property
    def trace_context(self) -> Any:
        return _Trace()

    @property
    def retry_context(self) -> Any:
        return None
