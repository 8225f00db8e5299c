"""Credentials: which members hold them, in every object that a caller or a receiver may get."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.pages import input_items
from shared.contract.redaction import (
    MASK,
    MAX_CREDENTIALS,
    MAX_PARTS,
    MAX_URL,
    credentials_in,
    is_credential,
    without_credentials,
)
from shared.contract.responses import echo, present
from shared.contract.stream_events import created_event, translated
from shared.core.records import Record, RequestInfo
from shared.core.states import Status
from tests.support.json_values import json_values

KEY = "geheim-0123456789"
RECORD = Record("resp_0123456789abcdef0123456789abcdef", "ann", 0, 1, request=RequestInfo(background=True))
MCP = {
    "type": "mcp",
    "server_label": "crm",
    "server_url": "https://crm.example.com/mcp",
    "authorization": KEY,
    "headers": {"X-Api-Key": f"{KEY}-2", "type": f"{KEY}-3"},
    "require_approval": "never",
}
# Tools and other parts of a request, each with a credential.
PARTS = {
    "the authorization of an MCP server": MCP,
    "a user in its URL": {**MCP, "server_url": f"https://ann:{KEY}@crm.example.com/mcp"},
    "a parameter of its URL": {**MCP, "server_url": f"https://crm.example.com/mcp?tenant={KEY}"},
    "a parameter without a value": {**MCP, "server_url": f"https://crm.example.com/mcp?{KEY}"},
    "the path of its URL": {**MCP, "server_url": f"https://crm.example.com/s/{KEY}/mcp"},
    "the fragment of its URL": {**MCP, "server_url": f"https://crm.example.com/mcp#{KEY}"},
    "an unknown tool": {"type": "acme_search", "api_key": KEY},
    "an unknown tool in camel case": {"type": "acme_search", "options": {"apiKey": KEY, "clientSecret": KEY}},
    "a nested object": {"type": "acme_search", "auth": {"type": "basic", "user": KEY, "pin": [KEY]}},
    "an OpenAPI tool": {"type": "openapi", "openapi": {"auth": {"type": "key", "security_scheme": {"value": KEY}}}},
    "a container": {
        "type": "code_interpreter",
        "container": {"network_policy": {"domain_secrets": [{"domain": "a.example", "name": "K", "value": KEY}]}},
    },
    "headers as pairs": {"type": "http", "headers": [{"name": "Authorization", "value": f"Bearer {KEY}"}]},
    "headers as lines": {"type": "http", "request_headers": [f"X-Api-Key: {KEY}"]},
    "a named value": {"type": "http", "variables": [{"name": "GITHUB_TOKEN", "value": KEY}]},
    "a connection string": {"type": "acme_db", "connectionString": f"AccountKey={KEY}"},
    "the URL of a database": {"type": "acme_db", "dsn_url": f"postgres://ann:{KEY}@db.example.com/x"},
    "a number": {"type": "acme_search", "password": 4_711_000},
    "a property that is no schema": {"type": "function", "name": "f", "parameters": {"properties": {"token": KEY}}},
}
# What looks like a credential and is none.
INNOCENT = {
    "a schema": {
        "type": "function",
        "name": "sign_in",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"password": {"type": "string"}, "api_key": {"type": "string"}, "token": True},
            "$defs": {"secret": {"type": "object", "properties": {"headers": {"type": "object"}}}},
            "required": ["password", "api_key"],
        },
    },
    "the tokens of a text": {"logprobs": [{"token": "Hi", "logprob": -0.1, "top_logprobs": [{"token": "Hi"}]}]},
    "counts": {"input_tokens": 3, "input_tokens_details": {"cached_tokens": 1}, "max_output_tokens": 9},
    "a cache key": {"prompt_cache_key": "user-1", "partition_key": "a", "public_key": "b"},
    "our token": {"continuation_token": "ct_1", "next_token": "n", "eos_token": "</s>"},
    "the caller's metadata": {"metadata": {"token": "order-7", "api_key": "mine"}},
    "what a model has written": {"arguments": '{"password": "x"}', "text": "https://ann:pw@example.com/"},
    "an empty credential": {"authorization": None, "password": "", "headers": None, "has_secret": True, "auth": False},
    "the titles of a table": {"headers": ["Name", "Age"]},
    "a plain URL": {"type": "mcp", "server_url": "https://crm.example.com:8443/api/v1.2/mcp"},
    "a source": {"sources": [{"type": "url", "url": "https://example.com/?token=1"}]},
    "keys that are pressed": {"action": {"type": "keypress", "keys": ["CTRL", "A"]}},
}


def is_hidden(text: bytes) -> bool:
    """Return whether no credential of a part is in a JSON text."""
    return b"geheim" not in text and b"4711000" not in text


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_a_credential_is_masked_in_everything_that_is_shown(part: dict[str, object]) -> None:
    """In the object from the request and from the upstream's answer, in every event, and in the list of items."""
    request = {"model": "m", "tools": [part], "input": [{"type": "additional_tools", "tools": [part]}, part]}
    known = echo(request)
    answer = {"id": "up_1", "output": [{"type": "mcp_list_tools", "server": part}], "tools": [part], "theirs": part}
    shown = [
        present(RECORD, Status.QUEUED, {}, known, 0),
        present(RECORD, Status.COMPLETED, answer, {}, 1),
        present(RECORD, Status.IN_PROGRESS, {}, answer, 1),
        input_items(RECORD.id, request),
    ]
    assert all(map(is_hidden, map(orjson.dumps, [known, *shown])))
    events = [
        created_event(RECORD, known),
        translated(RECORD, known, {"type": "response.in_progress", "response": answer}),
        translated(RECORD, known, {"type": "response.output_item.added", "item": part}),
        translated(RECORD, known, {"type": "acme.tools", "tools": [part]}),
    ]
    assert all(event and is_hidden(event.body) for event in events)


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_only_the_credential_is_masked(part: dict[str, object]) -> None:
    """Members and their names stay, and what is none of them stays as it is. A second time changes nothing."""
    masked = without_credentials([part])
    assert masked[0].keys() == part.keys()
    assert MASK.encode() in orjson.dumps(masked) or "#" in str(part.get("server_url"))
    assert masked[0]["type"] == part["type"]
    assert without_credentials(masked) == masked


@pytest.mark.parametrize("value", INNOCENT.values(), ids=INNOCENT)
def test_what_only_looks_like_a_credential_is_shown(value: dict[str, object]) -> None:
    """Schemas, texts, metadata and identifiers are the caller's own business, or the model's."""
    assert without_credentials(value) == value
    assert credentials_in(value) == frozenset()


def test_a_signed_url_of_a_tool_is_shown_without_its_signature() -> None:
    """In a list of tools, whatever the member is called. Elsewhere a URL may be a source, and is left alone."""
    url = f"https://s.example.com/i?sv=1&sig={KEY}&code={KEY}&flag"
    masked = without_credentials({"tools": [{"type": "acme_search", "index": {"at": url}}], "sources": [{"url": url}]})
    assert masked["tools"][0]["index"]["at"] == "https://s.example.com/i?sv=1&sig=***&code=***&flag"
    assert masked["sources"][0]["url"] == url


def test_a_server_can_still_be_recognized() -> None:
    """Its host and the plain words of its path stay, as do the names of its parameters and headers."""
    url = f"https://ann:{KEY}@crm.example.com:8443/api/v2/{KEY}/mcp?key={KEY}&x=1#{KEY}"
    masked = without_credentials({**MCP, "server_url": url})
    assert masked["server_url"] == "https://***@crm.example.com:8443/api/v2/***/mcp?key=***&x=***"
    assert masked["headers"] == {"X-Api-Key": MASK, "type": MASK}


NAMED = """
    authorization Authorization proxy-authorization apiKey API_KEY x-api-key Ocp-Apim-Subscription-Key access_token
    accessToken githubToken refresh_token clientSecret client_secret secrets password dbPassword passphrase pwd
    private_key awsSecretAccessKey aws_access_key_id credentials bearer cookie Set-Cookie connectionString
    auth basic_auth authHeader jwt token
"""
NOT_NAMED = """
    tokens input_tokens max_output_tokens continuation_token next_page_token key keys prompt_cache_key author
    authorization_url secretary monkey passwordless_login token_type id model text encrypted_content signature
"""


@pytest.mark.parametrize("name", NAMED.split())
def test_the_name_of_a_credential_is_recognized_in_every_style(name: str) -> None:
    """Snake case, camel case, the style of headers."""
    assert is_credential(name)


@pytest.mark.parametrize("name", NOT_NAMED.split())
def test_other_names_are_not(name: str) -> None:
    """A name that only contains the word says nothing."""
    assert not is_credential(name)


@given(json_values())
def test_any_value_can_be_masked_once(value: object) -> None:
    """Nothing that an upstream says raises, and what is masked stays as it is."""
    once = without_credentials(value)
    assert without_credentials(once) == once
    assert credentials_in({"theirs": once}) == frozenset()


@given(json_values(), st.text(max_size=10))
def test_a_credential_at_any_depth_is_masked(value: object, secret: str) -> None:
    """Wherever a tool stands in an answer, its authorization is not there."""
    secret += KEY
    masked = without_credentials({"a": [value, {"b": {**MCP, "authorization": secret}}]})
    assert masked["a"][1]["b"]["authorization"] == MASK
    assert secret in credentials_in({"tools": [{**MCP, "authorization": secret}]})


def test_the_credentials_of_a_request_are_known_by_their_value() -> None:
    """With and without the scheme of a header. Short ones and the values of harmless headers are not looked for."""
    headers = {"Authorization": f"Bearer {KEY}", "Accept": "application/json", "X-Short": "abc"}
    found = credentials_in({"tools": [{"type": "mcp", "headers": headers}]})
    assert found == {f"Bearer {KEY}", KEY}


def test_a_url_that_is_too_long_is_masked_as_a_whole() -> None:
    """It could have millions of parts, each of which would be looked at."""
    url = f"https://h/{'A/' * (MAX_URL // 2)}{KEY}"
    for part in ({**MCP, "server_url": url}, {"at": url.replace("//", "//ann:pw@")}, {"tools": [{"x": f"{url}?a=b"}]}):
        (masked,) = [one for one in ([without_credentials(part)]) if KEY.encode() not in orjson.dumps(one)]
        assert orjson.dumps(masked).count(b"A/") == 0
    assert credentials_in({"tools": [{"type": "mcp", "server_url": url}]}) == {url}
    long_text = f"Look at {url} and at {url}."
    assert without_credentials({"instructions": long_text}) == {"instructions": long_text}


def test_the_urls_of_a_value_have_a_limit_of_parts_together() -> None:
    """Many short URLs have as many parts as a long one. Those after the limit are masked as a whole."""
    tool = {"type": "mcp", "server_url": "https://h" + "/A" * 98}
    masked = without_credentials([tool] * 100)
    whole = [one["server_url"] == MASK for one in masked]
    assert whole == sorted(whole)
    assert whole.count(False) == MAX_PARTS // 98
    assert without_credentials(masked) == masked
    listed = input_items(RECORD.id, {"input": [tool] * 100})
    assert [one["server_url"] == MASK for one in listed] == whole


@pytest.mark.parametrize("extra", ["", "Bearer "])
def test_the_search_ends_at_a_thousand_credentials(extra: str) -> None:
    """The request is refused, whatever else is in it."""
    tools = [{"api_key": f"{extra}{n:08d}"} for n in range(MAX_CREDENTIALS)]
    assert len(credentials_in({"tools": tools[:500]})) == (1_000 if extra else 500)
    assert len(credentials_in({"tools": tools})) == (1_002 if extra else 1_000)
    assert 0 < len(credentials_in({"tools": tools * 2 + [{"api_key": f"{n:09d}"} for n in range(90_000)]})) <= 1_002
    short = [{"api_key": f"{n:07d}"} for n in range(2_000)]
    assert credentials_in({"tools": short}) == frozenset()
