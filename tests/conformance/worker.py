"""Runs the app in Microsoft's runtime library, driven as the host drives a worker, but without gRPC.

Run it in an environment that has the library: `python worker.py APP_DIRECTORY CHANNEL_PORT`. It prints the address of
the HTTP server of the streaming extension. Each connection to the channel is one call: one line of JSON as the request,
and one line of JSON as the answer.
"""

import asyncio
import base64
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
    """A message of the worker's protocol. The library only reads its named fields."""


class TypedData(Message):
    """A value of one of several kinds. The name of its only field is the kind."""

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802 - the name is protobuf's
        """Return the kind."""
        return next(iter(vars(self)), None)


class ParameterBinding(Message):
    """The value of a binding, and the name of the binding."""

    def WhichOneof(self, _group: str) -> str:  # noqa: N802 - the name is protobuf's
        """Return the name of the field that holds the value."""
        return "data"


class StatusResult(Message):
    """The result of a call."""

    Failure = 0
    Success = 1


class BindingInfo(Message):
    """The direction of a binding, as the worker reports it."""

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
    """Index the app, which starts the HTTP server. Return the worker's capabilities, or exit if indexing failed."""
    received = Message(capabilities={}, function_app_directory=directory)
    answer = await runtime.worker_init_request(_event(worker_init_request=received))
    if answer.result.status != StatusResult.Success:
        sys.exit(answer.result.exception.stack_trace)
    return dict(answer.capabilities)


async def describe() -> Json:
    """Return the metadata that the worker reports to the host, by function name."""
    answer = await runtime.functions_metadata_request(_event(functions_metadata_request=Message()))
    return {
        one.name: {"id": one.function_id, "raw_bindings": [json.loads(raw) for raw in one.raw_bindings]}
        for one in answer.function_metadata_results
    }


async def load(function_id: str) -> Json:
    """Load a function and return the result."""
    answer = await runtime.function_load_request(_event(function_load_request=Message(function_id=function_id)))
    return _result(answer)


async def invoke(invocation_id: str, function_id: str, inputs: Json, metadata: Json) -> Json:
    """Invoke a function and return the result.

    Each value is an object with one field, whose name is its kind. Bytes are written in base64.
    """
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
    if "bytes" in value:
        return TypedData(bytes=base64.b64decode(value["bytes"]))
    return TypedData(**value)


def _result(answer: Any) -> Json:
    exception = getattr(answer.result, "exception", None)
    return {"succeeded": answer.result.status == StatusResult.Success, "exception": exception and vars(exception)}


CALLS: dict[str, Callable[..., Awaitable[Json]]] = {"describe": describe, "load": load, "invoke": invoke}


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read the single call of a connection and answer it."""
    call = json.loads(await reader.readline())
    answer = await CALLS[call.pop("call")](**call)
    writer.write(json.dumps(answer).encode() + b"\n")
    await writer.drain()
    writer.close()


async def main(directory: str, port: int) -> None:
    """Serve the app until the process is stopped."""
    runtime.start_threadpool_executor()
    capabilities = await initialise(directory)
    channel = await asyncio.start_server(converse, HOST, port)
    print(f"listening on {capabilities['HttpUri']}", flush=True)  # noqa: T201 - the parent process reads this
    await channel.serve_forever()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    sys.path[0] = str(Path(sys.argv[1]).resolve())  # instead of this program's own directory
    asyncio.run(main(sys.path[0], int(sys.argv[2])))
