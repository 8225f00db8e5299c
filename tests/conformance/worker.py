"""Microsoft's runtime library with the app in it, driven as the host drives a worker, but without gRPC.

A program for an environment of its own: `python worker.py APP_DIRECTORY CHANNEL_PORT`. It says where the HTTP server of
the streaming extension listens. A connection to the channel is one call: a line of JSON there, a line of JSON back.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure_functions_runtime as runtime

HOST = "127.0.0.1"

Json = dict[str, Any]


class Message(SimpleNamespace):
    """A message of the worker's protocol, as far as the library can tell: named fields."""


class TypedData(Message):
    """A value that is one of several kinds: its only field."""

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802 - the name is protobuf's
        """Return the kind."""
        return next(iter(vars(self)), None)


class ParameterBinding(Message):
    """A value under the name of its binding."""

    def WhichOneof(self, _group: str) -> str:  # noqa: N802 - the name is protobuf's
        """Return where the value is."""
        return "data"


class StatusResult(Message):
    """How a call went."""

    Failure = 0
    Success = 1


class BindingInfo(Message):
    """What the worker says about a binding."""

    undefined = 0
    out = 1
    inout = 2


PROTOS = SimpleNamespace(
    BindingInfo=BindingInfo,
    FunctionLoadResponse=Message,
    FunctionMetadataResponse=Message,
    InvocationResponse=Message,
    ParameterBinding=ParameterBinding,
    RpcException=Message,
    RpcFunctionMetadata=Message,
    StatusResult=StatusResult,
    TypedData=TypedData,
    WorkerInitResponse=Message,
    WorkerMetadata=Message,
)


async def initialise(directory: str) -> Json:
    """Index the app, which starts the HTTP server; return what the worker is capable of, or end the program."""
    received = Message(capabilities={}, function_app_directory=directory)
    answer = await runtime.worker_init_request(_event(worker_init_request=received))
    if answer.result.status != StatusResult.Success:
        sys.exit(answer.result.exception.stack_trace)
    return dict(answer.capabilities)


async def describe() -> Json:
    """Return what the host is told about each function, by its name."""
    answer = await runtime.functions_metadata_request(_event(functions_metadata_request=Message()))
    return {
        one.name: {"id": one.function_id, "raw_bindings": [json.loads(raw) for raw in one.raw_bindings]}
        for one in answer.function_metadata_results
    }


async def load(function_id: str) -> Json:
    """Load a function; return how that went."""
    answer = await runtime.function_load_request(_event(function_load_request=Message(function_id=function_id)))
    return _result(answer)


async def invoke(invocation_id: str, function_id: str, inputs: Json, metadata: Json) -> Json:
    """Invoke a function; return how that went. Values are objects of one field, whose name is their kind."""
    call = Message(
        invocation_id=invocation_id,
        function_id=function_id,
        input_data=[ParameterBinding(name=name, data=_typed(value)) for name, value in inputs.items()],
        trigger_metadata={name: _typed(value) for name, value in metadata.items()},
        trace_context=Message(trace_parent="", trace_state="", attributes={}),
        retry_context=Message(retry_count=0, max_retry_count=0, exception=None),
    )
    return _result(await runtime.invocation_request(_event(invocation_request=call)))


def _event(**request: Message) -> Message:
    return Message(request=Message(**request), properties={"host": HOST, "protos": PROTOS})


def _typed(value: Json) -> TypedData:
    if "http" in value:
        return TypedData(http=Message(**value["http"], body=TypedData()))
    return TypedData(**value)


def _result(answer: Any) -> Json:
    exception = getattr(answer.result, "exception", None)
    return {"succeeded": answer.result.status == StatusResult.Success, "exception": exception and vars(exception)}


CALLS: dict[str, Callable[..., Awaitable[Json]]] = {"describe": describe, "load": load, "invoke": invoke}


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the one call of a connection."""
    call = json.loads(await reader.readline())
    answer = await CALLS[call.pop("call")](**call)
    writer.write(json.dumps(answer).encode() + b"\n")
    await writer.drain()
    writer.close()


async def main(directory: str, port: int) -> None:
    """Serve the app until the process is ended."""
    runtime.start_threadpool_executor()
    capabilities = await initialise(directory)
    channel = await asyncio.start_server(converse, HOST, port)
    print(f"listening on {capabilities['HttpUri']}", flush=True)  # noqa: T201 - whoever has started it reads this
    await channel.serve_forever()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    sys.path[0] = str(Path(sys.argv[1]).resolve())  # instead of this program's own directory
    asyncio.run(main(sys.path[0], int(sys.argv[2])))
