"""The scripts of the console by themselves, in the browser that runs them: frames, words, and values for Python."""

import ast
import json
from collections.abc import Iterator
from typing import Any

import pytest

from shared.core.states import WaitReason
from tests.support.console_page import ConsolePage, console_page
from tests.support.service_process import Service

STREAM = (
    ': waiting {"reason": "turn"}\n\nevent: a\nid: ct_1\ndata: {"n": 1}\n\r\n: \n'
    'data: {"n":\ndata: 2}\r\n\r\ndata: {"n": 3}'
)
CUT = """async (text) => {
  const { Parser } = await import("/console/files/sse.js");
  const found = new Set();
  for (let i = 0; i <= text.length; i += 1) {
    const parser = new Parser();
    found.add(JSON.stringify([...parser.take(text.slice(0, i)), ...parser.take(text.slice(i))]));
  }
  return [...found];
}"""
VALUES = [None, True, 0, 1.5, -2e30, "", 'It\'s "x"\n\\ é \u2028', [], {}, [1, [None]], {"a": {"b": [True, {}]}}]


@pytest.fixture(scope="module")
def console(browser: Any, running: Service) -> Iterator[ConsolePage]:
    """Return one tab for all tests of this module, because none of them changes the page."""
    with console_page(browser, running) as shown:
        yield shown.open()


def called(console: ConsolePage, script: str, name: str, *given: Any) -> Any:
    """Return what a function of a script returns."""
    program = f"async (given) => (await import('/console/files/{script}')).{name}(...given)"
    return console.page.evaluate(program, list(given))


def test_frames_are_the_same_wherever_the_stream_is_cut(console: ConsolePage) -> None:
    """A comment, data of one line and of two, and both line ends. A frame that has not ended is none."""
    [found] = console.page.evaluate(CUT, STREAM)
    assert json.loads(found) == [
        {"comment": 'waiting {"reason": "turn"}'},
        *({"data": {"n": 1}}, {"comment": ""}, {"data": {"n": 2}}),
    ]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_is_written_as_python_reads_it(console: ConsolePage, value: Any) -> None:
    """Any JSON value, so that a copied program sends what was sent."""
    assert ast.literal_eval(called(console, "snippets.js", "literal", value)) == value


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        *((0, "0.0 s"), (-3, "0.0 s"), (9.94, "9.9 s"), (59.9, "59 s"), (60, "1 min 0 s")),
        *((3_599, "59 min 59 s"), (3_600, "1 h 0 min"), (90_000, "1 d 1 h")),
    ],
)
def test_times_are_said_as_people_say_them(console: ConsolePage, seconds: float, said: str) -> None:
    """With at most two units."""
    assert called(console, "words.js", "lasting", seconds) == said


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ({}, ["Accepted.", "Failed. No. [odd]", "Callback: accepted with 204."]),
        ({"ended_at": 60}, ["Accepted.", "Failed after 50 s. No. [odd]", "Callback: accepted with 204."]),
    ],
)
def test_the_end_stands_before_its_deliveries(console: ConsolePage, times: dict[str, int], said: list[str]) -> None:
    """Also in the same second, and where an object of an older release does not tell when it was."""
    response = {"created_at": 10, "status": "failed", "error": {"code": "odd", "message": "No."}, **times}
    delivery = {"target": "callback", "attempts": [{"at": 60, "status": 204}]}
    told = called(console, "timeline.js", "story", response, None, [delivery])
    assert [one["text"] for one in told] == said
    program = "async (all) => (await import('/console/files/timeline.js')).drawn(all).map(one => one.innerText)"
    assert [text in shown for text, shown in zip(said, console.page.evaluate(program, told), strict=True)] == [True] * 3


@pytest.mark.parametrize(
    ("wait", "said"),
    [
        ({"reason": "upstream_down", "detail": "status 503"}, "the upstream, which is down (status 503)"),
        ({"reason": "credentials"}, "the upstream to accept the service's credentials"),
        ({"reason": "turn", "place": 3}, "its turn, place 3"),
        ({"reason": "upstream_removed"}, "its upstream, which is not in the settings"),
        ({"reason": "rate_limit"}, "the upstream's rate limit"),
        ({"reason": "storage"}, "storage, which takes no writes"),
        ({"reason": "odd"}, "odd"),
    ],
)
def test_what_a_response_waits_for_is_a_sentence(console: ConsolePage, wait: dict[str, Any], said: str) -> None:
    """For each reason of the API, and for one that the page does not know."""
    assert called(console, "words.js", "waiting", wait) == f"Waits for {said}"


def test_every_reason_has_words_of_its_own(console: ConsolePage) -> None:
    """A reason that is new in the service is put into words here, too."""
    told = {called(console, "words.js", "waiting", {"reason": reason}) for reason in WaitReason}
    assert told & {f"Waits for {reason}" for reason in WaitReason} == set()
    assert len(told) == len(WaitReason)


@pytest.mark.parametrize(("model", "said"), [("m", "m, of ann, queued"), (None, "no model, of ann, queued")])
def test_a_response_without_a_model_is_described_so(console: ConsolePage, model: str | None, said: str) -> None:
    """The service view says it of the oldest one."""
    assert called(console, "service.js", "described", {"model": model, "caller": "ann", "status": "queued"}) == said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"status": 401}, "The service does not know this key."),
        ({"status": 404, "code": ""}, "There is no such response. It may have been deleted."),
        ({"status": 400, "code": "odd", "param": "model", "message": "No."}, "model: No. [odd]"),
        ({"answered": 404}, "The service is not ready: the answer was 404. Do this."),
        ({"name": "TimeoutError"}, "The service did not answer in time. Do this."),
        ({"name": "TypeError"}, "The service cannot be reached. Do this."),
    ],
)
def test_errors_are_said_in_words(console: ConsolePage, error: dict[str, Any], said: str) -> None:
    """What happened, the field if there is one, and what follows."""
    assert called(console, "words.js", "failure", error, "Do this.") == said
