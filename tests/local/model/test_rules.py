"""The rules of the simulated model that need no server: names, time, memory, outlines, arguments."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.model.answer import example
from local.model.behaviour import Behaviour, Status, Writing, behaviour_of
from local.model.errors import ApiError
from local.model.faults import Faults, Switches
from local.model.outline import outline
from local.model.simulation import MEMORY_S, Simulation
from local.model.streaming import check_replayable
from local.model.work import Work


def started(model: str, **fields: object) -> Work:
    """Return a response that was started at second 0."""
    return Simulation(0).start({"model": model, "background": True, **fields}, None, now_s=0)


@pytest.mark.parametrize(
    ("name", "behaviour"),
    [
        ("sim-instant", Behaviour(0)),
        ("sim-2s", Behaviour(2)),
        ("sim-0.5s", Behaviour(0.5)),
        ("sim-fail-3s", Behaviour(3, Status.FAILED)),
        ("sim-incomplete-0.1s", Behaviour(0.1, Status.INCOMPLETE)),
        ("sim-tool", Behaviour(0.3, calls_tool=True)),
        ("sim-silent-2s", Behaviour(2, silent=True)),
        ("sim-tool-2s", Behaviour(2, calls_tool=True)),
        ("sim-reason-2s", Behaviour(2, reasons=True)),
        ("sim-clock-2s", Behaviour(2, writing=Writing.CLOCK)),
        ("sim-slow-clock-2s", Behaviour(2, writing=Writing.CLOCK, ticks_per_s=10)),
        ("sim-events-1", Behaviour(0, writing=Writing.NUMBERS, size=1)),
        ("sim-events-100000", Behaviour(0, writing=Writing.NUMBERS, size=100_000)),
        ("sim-blob-8mb", Behaviour(0, writing=Writing.BLOB, size=8)),
        ("sim-events-0", None),
        ("sim-events-100001", None),
        ("sim-events-5s", None),
        ("sim-blob-9mb", None),
        ("sim-clock-10000s", None),
        ("sim-s", None),
        ("sim--1s", None),
        ("sim-1e3s", None),
        ("sim-2s\n", None),
        ("gpt-7", None),
    ],
)
def test_the_name_of_a_model_sets_its_behaviour(name: str, behaviour: Behaviour | None) -> None:
    """The duration, the ending and the kind of output are parsed from the name. Any other name is unknown."""
    assert behaviour_of(name) == behaviour


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("sim-10s", ["queued", "in_progress", "in_progress", "completed", "completed"]),
        ("sim-fail-10s", ["queued", "in_progress", "in_progress", "failed", "failed"]),
        ("sim-incomplete-10s", ["queued", "in_progress", "in_progress", "incomplete", "incomplete"]),
        ("sim-instant", ["completed"] * 5),
    ],
)
def test_the_clock_decides_the_status(name: str, statuses: list[str]) -> None:
    """A background response is queued for a tenth of its duration, then in progress, and ends after its duration."""
    work = started(name)
    assert [work.status(now_s) for now_s in (0.9, 1, 9.9, 10, 1000)] == statuses


def test_a_foreground_response_is_not_queued() -> None:
    """Without `background`, a response is in progress from the start."""
    assert started("sim-10s", background=False).status(0) == "in_progress"


@given(stop_s=st.floats(0, 9.99), later_s=st.floats(0, 1e6))
def test_a_stopped_response_stays_cancelled(stop_s: float, later_s: float) -> None:
    """The status is `cancelled` at any time after the stop."""
    work = started("sim-10s")
    work.stop(stop_s)
    assert work.status(stop_s + later_s) == "cancelled"


def test_responses_and_keys_are_forgotten_after_an_hour() -> None:
    """Memory is bounded. The next start after an hour drops the response, its key and its count."""
    simulation = Simulation(0)
    old = simulation.start({"model": "sim-instant"}, "k", now_s=0)
    assert simulation.repeated("k") is old
    simulation.start({"model": "sim-instant"}, "l", now_s=MEMORY_S + 1)
    assert simulation.repeated("k") is None
    assert simulation.stats(MEMORY_S + 1)["started"] == {"l": 1}
    with pytest.raises(ApiError, match="not found"):
        simulation.find(old.id, MEMORY_S + 1)


@pytest.mark.parametrize(("window_s", "words"), [(300, "5 minutes"), (90, "1.5 minutes"), (2.5, "2.5 seconds")])
def test_a_stream_can_be_replayed_until_its_window_closes(window_s: float, words: str) -> None:
    """A replay is allowed at exactly that age. Above it, the refusal states the length of the window."""
    faults = Faults(Switches(replay_window_s=window_s), seed=0)
    work = started("sim-instant", stream=True)
    check_replayable(work, window_s, faults)
    with pytest.raises(ApiError, match=f"^This response can no longer be streamed .* more than {words} old.$"):
        check_replayable(work, window_s + 0.1, faults)


def test_an_outline_keeps_frequent_sentences_in_their_order() -> None:
    """Sentences with frequent words are preferred, and they keep their order."""
    text = "Rain fell. " + " ".join(f"Tables hold records number {n} and tables last." for n in "abcde")
    points = outline(text)
    assert [point.split()[4] for point in points] == list("abcde")


@given(st.text())
def test_an_outline_accepts_any_text(text: str) -> None:
    """An outline has at most five points of one short line each, whatever the text."""
    points = outline(text)
    assert len(points) <= 5
    assert all(len(point) <= 250 and "\n" not in point for point in points)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "text"),
        ({"enum": ["a", "b"]}, "a"),
        ({"type": "integer"}, 1),
        ({"type": "number", "minimum": 2.5}, 2.5),
        ({"type": "boolean"}, True),
        ({"type": "array", "items": {}}, []),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, None),
        ({"$ref": "#/$defs/Sky", "$defs": {"Sky": {"enum": ["clear", "grey"]}}}, "clear"),
        ({"$ref": "#/$defs/Sky", "$defs": []}, "text"),
        ({"type": "object", "properties": {"a": {"type": "null"}, "b": {}}, "required": ["a"]}, {"a": None}),
        ({"type": ["string", "null"]}, "text"),
        ({"type": "object", "properties": 5}, {}),
        (None, "text"),
    ],
)
def test_an_argument_fits_its_schema(schema: object, value: object) -> None:
    """Each kind of schema has an example. A schema that cannot be understood gets the text."""
    assert example(schema, "text") == value
