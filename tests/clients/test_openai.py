"""The openai Python SDK works with the running service if only its base URL and key are changed."""

import asyncio
from collections.abc import Iterator

import httpx
import openai
import pytest
from openai.types.responses import Response

from local.azurite import Azurite
from local.stack.process import wait_for
from tests.support.callback_receivers import Receiver, reply
from tests.support.service_process import TERMINAL, Service, service


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all tests here. At the end it has logged nothing unexpected."""
    with service(tmp_path_factory.mktemp("sdk"), azurite.account()) as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture
def sdk(running: Service) -> Iterator[openai.OpenAI]:
    """Yield an SDK client without automatic retries."""
    first = running.callers["first"]
    with openai.OpenAI(
        base_url=f"{running.hosts[0].url}/openai/v1",
        api_key=first.api_key,
        webhook_secret=first.signing_secret,
        max_retries=0,
    ) as client:
        yield client


def _finished(sdk: openai.OpenAI, response_id: str) -> Response:
    def ended() -> Response | None:
        response = sdk.responses.retrieve(response_id)
        return response if response.status in TERMINAL else None

    response = wait_for(ended, 30)
    assert response
    return response


def test_create_and_retrieve(sdk: openai.OpenAI) -> None:
    """A background response is created and polled by id or token. The token is an extra field of the SDK's model."""
    created = sdk.responses.create(model="sim-1s", input="Whales sing.", background=True)
    assert created.status in {"queued", "in_progress"}
    assert created.model_extra
    token = created.model_extra["continuation_token"]
    assert sdk.responses.retrieve(token).id == created.id
    ended = _finished(sdk, created.id)
    assert ended.status == "completed"
    assert "Whales sing." in ended.output_text
    assert ended.usage
    assert ended.usage.total_tokens > 0


def test_foreground(sdk: openai.OpenAI) -> None:
    """Without `background` the SDK returns the finished response."""
    assert sdk.responses.create(model="sim-1s", input="Bees dance.").status == "completed"


def test_cancel(sdk: openai.OpenAI) -> None:
    """The SDK cancels a running response. For one that has completed it raises BadRequestError."""
    created = sdk.responses.create(model="sim-60s", input="Long.", background=True)
    assert sdk.responses.cancel(created.id).status == "cancelled"
    assert sdk.responses.retrieve(created.id).status == "cancelled"
    ended = sdk.responses.create(model="sim-instant", input="Short.", background=True)
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a completed response"):
        sdk.responses.cancel(ended.id)


def test_delete(sdk: openai.OpenAI) -> None:
    """Retrieving a deleted response raises the SDK's NotFoundError, which contains our request id."""
    created = sdk.responses.create(model="sim-instant", input="Short.")
    sdk.responses.delete(created.id)
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.responses.retrieve(created.id)
    assert caught.value.request_id
    assert caught.value.request_id.startswith("req_")


def test_input_items(sdk: openai.OpenAI) -> None:
    """The SDK fetches all pages of the input items."""
    texts = [f"Number {n}." for n in range(5)]
    created = sdk.responses.create(model="sim-instant", input=[{"role": "user", "content": text} for text in texts])
    items = [item.to_dict() for item in sdk.responses.input_items.list(created.id, order="asc", limit=2)]
    assert [item["content"] for item in items] == [[{"type": "input_text", "text": text}] for text in texts]


def test_the_older_azure_client(running: Service) -> None:
    """The AzureOpenAI client works, with its own base path, header and `api-version`."""
    with openai.AzureOpenAI(
        azure_endpoint=running.hosts[0].url,
        api_key=running.callers["first"].api_key,
        api_version="2025-04-01-preview",
        max_retries=0,
    ) as sdk:
        created = sdk.responses.create(model="sim-0.5s", input="One.", background=True)
        assert _finished(sdk, created.id).status == "completed"


def test_a_wrong_key(running: Service) -> None:
    """The SDK raises AuthenticationError for a wrong key."""
    with (
        openai.OpenAI(base_url=f"{running.hosts[0].url}/v1", api_key="wrong", max_retries=0) as sdk,
        pytest.raises(openai.AuthenticationError),
    ):
        sdk.responses.retrieve("resp_" + "0" * 32)


def test_callbacks_are_unwrapped(sdk: openai.OpenAI) -> None:
    """`client.webhooks.unwrap` verifies a callback and returns the event. With another secret it raises an error."""

    async def callback() -> tuple[str, httpx.Headers, bytes]:
        arrived = asyncio.Event()

        async def answer(writer: asyncio.StreamWriter) -> None:
            await reply(204)(writer)
            arrived.set()

        async with Receiver(answer) as receiver, asyncio.timeout(30):
            created = await asyncio.to_thread(
                sdk.responses.create,
                model="sim-0.5s",
                input="One.",
                background=True,
                extra_body={"callback_url": receiver.url},
            )
            await arrived.wait()
            (request,) = receiver.requests
            return created.id, httpx.Headers(request.headers), request.body

    response_id, headers, body = asyncio.run(callback())
    event = sdk.webhooks.unwrap(body, headers)
    assert event.type == "response.completed"
    assert event.data.id == response_id
    with pytest.raises(openai.InvalidWebhookSignatureError):
        sdk.webhooks.unwrap(body, headers, secret="whsec_" + "A" * 44)
