"""How the document shows an operation."""

from shared.openapi import faults
from shared.openapi.operation import EVENTS, LIMITS, STREAMED, Answer, Operation, answer
from shared.openapi.parameters import LIMIT

THING = answer("Thing", "A thing.")


def shown_answers(**fields: object) -> dict[str, dict[str, object]]:
    """Return the answers of an operation with these fields."""
    operation = Operation("show", "GET", "/things/{id}", "Show a thing", (THING,), **fields)  # type: ignore[arg-type]
    found: dict[str, dict[str, object]] = operation.shown()["responses"]
    return found


def headers(shown: dict[str, object]) -> set[str]:
    """Return the names of the headers of an answer."""
    named = shown["headers"]
    assert isinstance(named, dict)
    return set(named)


def test_a_caller_needs_a_key() -> None:
    """Anybody may call a public operation, so that has no 401."""
    assert shown_answers().keys() == {"200", "401", "426", "500", "503"}
    assert shown_answers(is_public=True).keys() == {"200", "426", "500"}
    assert Operation("live", "GET", "/live", "", (THING,), is_public=True).shown()["security"] == []


def test_every_answer_has_an_id_and_every_5xx_and_429_a_time() -> None:
    """The time is that of the next try."""
    found = shown_answers(is_limited=True)
    assert all("x-request-id" in headers(one) for one in found.values())
    timed = {status for status, one in found.items() if "Retry-After" in headers(one)}
    assert timed == {"429", "500", "503"}


def test_an_answer_that_stays_says_so() -> None:
    """A caller's operation may be refused by storage for good. What anybody may call has no such answer by itself."""
    final = {status for status, one in shown_answers().items() if "x-should-retry" in headers(one)}
    assert final == {"500"}
    assert all("x-should-retry" not in headers(one) for one in shown_answers(is_public=True).values())


def test_every_answer_to_a_caller_tells_what_is_left() -> None:
    """Also that of an operation that counts as no request. Before it is known who calls, nothing can be told."""
    for found in (shown_answers(is_limited=True), shown_answers(relays=True)):
        assert {status for status, one in found.items() if not headers(one) >= LIMITS.keys()} == {"401", "426"}
    assert all(not headers(one) & LIMITS.keys() for one in shown_answers(is_public=True).values())


def test_an_answer_that_may_be_a_stream_tells_what_proxies_do_with_it() -> None:
    """Other answers say nothing of caches and buffers."""
    stream = Answer(200, "Its events.", {EVENTS: "Event"})
    assert headers(stream.shown()) >= STREAMED.keys()
    assert not headers(THING.shown()) & STREAMED.keys()


def test_an_upstreams_refusal_may_have_any_4xx_and_any_code() -> None:
    """So no 4xx of such an operation has a closed list of codes."""
    found = shown_answers(relays=True, faults=faults.PARAMETER)
    assert (
        found["4XX"]["content"] == found["400"]["content"] != shown_answers(faults=faults.PARAMETER)["400"]["content"]
    )
    assert "The upstream's own refusal" in str(found["400"]["description"])
    assert "x-should-retry" in headers(found["4XX"])


def test_a_body_may_be_compressed() -> None:
    """Only where there is one."""
    operation = Operation("make", "POST", "/things", "Make", (THING,), parameters=(LIMIT,), body="Thing").shown()
    assert [one["name"] for one in operation["parameters"]] == ["limit", "Content-Encoding", "traceparent"]
    assert operation["requestBody"]["required"] is True
    assert operation["tags"] == ["Things"]


def test_an_answer_may_have_no_body() -> None:
    """Such as a 304."""
    assert "content" not in Answer(304, "As before.").shown()
