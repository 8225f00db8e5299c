"""Requests to Table Storage: authorized, sent over aiohttp, and repeated where that cannot do a thing twice.

The pipeline of azure-core takes more of the processor than the request itself. Through the library, a transaction of
three rows takes 3.2 ms of CPU, and here 0.34 ms (`python -m local.bench.transactions`). Credentials are azure-core's.
https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
"""

import asyncio
import hmac
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from io import BytesIO

import aiohttp
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, ServiceRequestError, ServiceResponseError
from azure.core.pipeline import PipelineContext, PipelineRequest
from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy
from azure.core.rest import HttpRequest
from yarl import URL

SCOPE = "https://storage.azure.com/.default"
READ_S = 10.0  # of silence
_TIMES = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=READ_S)
_BACKOFF_S = 0.2  # before the first repeat, and doubled by each
_RETRY_AFTER_MAX_S = 5.0
_BUSY = frozenset({429, 500, 503, 504})  # storage itself has answered, so a POST is worth repeating
_TEMPORARY = {"POST": _BUSY, "GET": _BUSY | {408, 502}, "DELETE": _BUSY | {408, 502}}
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_LARGE = 1_048_576  # bytes. Above that aiohttp warns unless it gets a file, which it sends in pieces

Credential = AzureNamedKeyCredential | AzureSasCredential | AsyncTokenCredential


Authorize = Callable[[str, URL, dict[str, str]], Awaitable[URL]]
"""Takes the method, the URL and the headers of a request, adds to the headers what authorizes it, and returns the URL.

Raises AzureError if there is no credential.
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of storage."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)


class Wire:
    """The connections to the tables of an account. The first request opens them."""

    def __init__(self, credential: Credential, *, retries: int) -> None:
        self._authorize = _authorization(credential)
        self._retries = retries
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, method: str, url: str, headers: Mapping[str, str], content: bytes = b"") -> Answer:
        """Send a request, whose URL is quoted, and return the answer.

        While storage is busy or cannot be reached, it is sent again up to three times. A POST that may have arrived is
        not, unless storage has answered it. Raises AzureError if there is no answer: ServiceRequestError if nothing can
        have arrived.
        """
        was_sent = False
        for repeats in range(self._retries + 1):
            is_last = repeats == self._retries
            asked_s = 0.0
            try:
                answer = await self._ask(method, URL(url, encoded=True), headers, content)
                if is_last or answer.status not in _TEMPORARY[method]:
                    return answer
                asked_s, was_sent = _asked_s(answer), True
            except (aiohttp.ClientError, OSError) as error:
                was_sent = was_sent or not isinstance(error, _NOT_SENT)
                if is_last or (method == "POST" and not isinstance(error, _NOT_SENT)):
                    raise _silence(was_sent=was_sent) from error
            await asyncio.sleep(max(asked_s, _BACKOFF_S * 2**repeats))
        raise AssertionError("unreachable")

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session:
            await self._session.close()

    async def _ask(self, method: str, url: URL, headers: Mapping[str, str], content: bytes) -> Answer:
        session = self._session = self._session or _new_session()
        sent = {**headers, "x-ms-date": formatdate(usegmt=True)}
        url = await self._authorize(method, url, sent)
        data = BytesIO(content) if len(content) > _LARGE else content or None
        async with session.request(method, url, headers=sent, data=data, allow_redirects=False) as answer:
            return Answer(answer.status, answer.headers, await answer.read())


def _silence(*, was_sent: bool) -> AzureError:
    if was_sent:
        return ServiceResponseError("storage did not answer")
    return ServiceRequestError("storage cannot be reached")


def _new_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=_TIMES, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)


def _asked_s(answer: Answer) -> float:
    """Return how long storage asks to wait, in seconds, at most 5."""
    asked = answer.headers.get("Retry-After", "")
    return min(float(asked), _RETRY_AFTER_MAX_S) if asked.isdecimal() else 0.0


# Authorization


def _authorization(credential: Credential) -> Authorize:
    match credential:
        case AzureNamedKeyCredential():
            return _ByKey(credential)
        case AzureSasCredential():
            return _BySignature(credential)
    return _ByIdentity(credential)


class _ByKey:
    """The account's key signs each request, for which the table service has a form of its own."""

    def __init__(self, credential: AzureNamedKeyCredential) -> None:
        self._credential = credential

    async def __call__(self, method: str, url: URL, headers: dict[str, str]) -> URL:
        account, key = self._credential.named_key
        resource = f"/{account}{url.raw_path}"
        text = "\n".join((method, "", headers.get("Content-Type", ""), headers["x-ms-date"], resource))
        signature = b64encode(hmac.digest(b64decode(key), text.encode(), "sha256")).decode()
        headers["Authorization"] = f"SharedKey {account}:{signature}"
        return url


class _BySignature:
    """A shared access signature is the end of each URL."""

    def __init__(self, credential: AzureSasCredential) -> None:
        self._credential = credential

    async def __call__(self, _method: str, url: URL, _headers: dict[str, str]) -> URL:
        signature = self._credential.signature.lstrip("?")
        return URL(f"{url}{'&' if url.raw_query_string else '?'}{signature}", encoded=True)


class _ByIdentity:
    """A token of the identity, which azure-core keeps and renews."""

    def __init__(self, credential: AsyncTokenCredential) -> None:
        self._policy = AsyncBearerTokenCredentialPolicy(credential, SCOPE)

    async def __call__(self, method: str, url: URL, headers: dict[str, str]) -> URL:
        request = HttpRequest(method, str(url))
        await self._policy.on_request(PipelineRequest(request, PipelineContext(None)))
        headers.update(request.headers)
        return url
