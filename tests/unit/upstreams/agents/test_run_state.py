"""What a run of an agent saves, and what another process resumes from: token, session, output, usage and results."""

import os
from typing import Any

import pytest
from agent_framework import AgentSession, Content, FunctionInvocationContext, Message

from shared.core.errors import UpstreamOversized, UpstreamPaused
from shared.upstreams.agents.run import AgentState, portable
from tests.support.fakes.agents import Script, Weather, calls, says
from tests.support.log_capture import WrittenLines, log_events
from tests.unit.upstreams.agents.test_run import Attempt, Chat, attempt, text_of
from tests.unit.upstreams.agents.test_tools import MemoryCheckpoints, saved_call

TOKEN = {"response_id": "work_1"}
ITEM = {"type": "message", "id": "msg_x0000", "status": "completed", "role": "assistant", "content": []}


def session(session_id: str = "s", **state: Any) -> dict[str, Any]:
    """Return a session as it is saved."""
    return {"type": "session", "session_id": session_id, "service_session_id": None, "state": state}


def checkpoint(token: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return the checkpoint of a token."""
    return {"token": token, "session": None, "told": [], "used": [], **fields}


def state(*saved: dict[str, Any], previous: dict[str, Any] | None = None) -> AgentState:
    """Return the state that these checkpoints and the session of the previous response give."""
    return AgentState(MemoryCheckpoints(), saved, previous)


# The state


def test_new_work_has_no_state() -> None:
    """Its session is new, and has our id of the response."""
    new = state()
    assert (new.token, new.output, new.usage) == (None, [], [])
    assert portable(new.session("resp_1")) == session("resp_1")


def test_a_follow_up_continues_the_session_of_the_previous_response() -> None:
    """Only the session is continued. The output and the usage are those of the previous response."""
    follow_up = state(previous={"session": session(turns=1)})
    assert (follow_up.token, follow_up.output, follow_up.usage) == (None, [], [])
    assert portable(follow_up.session("resp_2")) == session(turns=1)


def test_work_resumes_from_its_last_token() -> None:
    """Token, session, output and usage are those of the last token, whatever the previous response left."""
    usage = [{"input_token_count": 5}]
    earlier = checkpoint({"response_id": "work_0"}, session=session(turns=0))
    last = checkpoint(TOKEN, session=session(turns=1), told=[ITEM], used=usage)
    resumed = state(earlier, last, saved_call("{}", 0, "x"), previous={"session": session("old")})
    assert (resumed.token, resumed.output, resumed.usage) == (TOKEN, [ITEM], usage)
    assert portable(resumed.session("resp_1")) == session(turns=1)


def test_work_without_a_saved_session_begins_a_new_one() -> None:
    """A session that could not be saved is lost, and the work can still be resumed."""
    assert portable(state(checkpoint(TOKEN)).session("resp_1")) == session("resp_1")


def test_tool_results_are_settled_up_to_the_token() -> None:
    """Calls before the token are counted, and calls after it are made with their saved results."""
    before, after = saved_call("{}", 0, "first"), saved_call("{}", 1, "second")
    resumed = state(before, checkpoint(TOKEN), after).tool_results
    assert resumed.count_call("weather", "{}") == 1
    assert resumed.result_of("weather", "{}", 1) == "second"
    restarted = state(before, after).tool_results
    assert restarted.count_call("weather", "{}") == 0


async def test_a_token_is_saved_once() -> None:
    """Every poll returns the token of the work. Only a new one is written, with the token that stops the work."""
    checkpoints = MemoryCheckpoints()
    saving = AgentState(checkpoints, [], None)
    for token in (TOKEN, dict(TOKEN), {"response_id": "work_2"}, {"response_id": "work_2"}):
        await saving.save_token(token, f"stops {token['response_id']}", session(), [ITEM], [{"input_token_count": 5}])
        assert saving.token == token
    assert [one["token"] for one in checkpoints.saved] == [TOKEN, {"response_id": "work_2"}]
    assert checkpoints.tokens == ["stops work_1", "stops work_2"]
    resumed = AgentState(MemoryCheckpoints(), await checkpoints.load(), None)
    assert (resumed.output, resumed.usage) == ([ITEM], [{"input_token_count": 5}])
    assert portable(resumed.session("resp_1")) == session()


async def test_a_state_that_is_too_large_cannot_be_saved() -> None:
    """Without its token the work could not be resumed, so the response fails."""
    large = session(text=os.urandom(3_000_000).hex())
    with pytest.raises(UpstreamOversized):
        await state().save_token(TOKEN, "stops work_1", large, [], [])


# Sessions


def test_a_session_is_restored_from_its_portable_form() -> None:
    """Messages of the framework come back as messages."""
    kept = AgentSession(session_id="s", service_session_id="up_1")
    kept.state["messages"] = [Message("user", [Content.from_text("one")])]
    plain = portable(kept)
    assert plain
    restored = AgentSession.from_dict(plain)
    assert (restored.session_id, restored.service_session_id) == ("s", "up_1")
    assert [message.text for message in restored.state["messages"]] == ["one"]
    assert portable(restored) == plain


@pytest.mark.filterwarnings("ignore:AgentSession state value")  # the framework warns of such values
@pytest.mark.parametrize("value", [object(), {1, 2}, 2**70, "\ud800"], ids=["object", "set", "large", "surrogate"])
def test_a_session_that_json_cannot_express_is_not_portable(value: object, written: WrittenLines) -> None:
    """An agent may keep anything in its session. The warning does not show it."""
    kept = AgentSession(session_id="s")
    kept.state["value"] = value
    assert portable(kept) is None
    assert log_events(written) == ["session.unportable"]


def test_keys_of_a_session_become_text() -> None:
    """JSON has only text as the key of an object."""
    kept = AgentSession(session_id="s")
    kept.state["by_day"] = {1: "rain"}
    assert portable(kept) == session(by_day={"1": "rain"})


# From one process to the next


async def test_a_paused_run_is_resumed_by_another_process() -> None:
    """The next process asks with the token and without a message. The answer is that of one run."""
    script, checkpoints = Script(polls=2), MemoryCheckpoints()
    for _ in range(2):
        with pytest.raises(UpstreamPaused):
            await Attempt(Chat(script), checkpoints).finish()
    done = await Attempt(Chat(script), checkpoints).finish()
    assert (text_of(done.answer), done.answer["usage"]["total_tokens"]) == ("All well.", 7)
    assert [options.get("continuation_token") for options in script.options] == [None, TOKEN, TOKEN]
    assert (script.begun, len(checkpoints.saved)) == (1, 1)


async def test_the_tokens_of_a_stream_are_saved_while_it_goes_on() -> None:
    """Each piece of background work has its token. With it is saved what was done before."""
    turns = [[calls("weather", city="Bonn")], says("It ", "rains.")]
    done = await attempt(Script(turns, polls=0), Weather().weather, stream=True).finish()
    tokens = [one for one in done.checkpoints.saved if "token" in one]
    assert [one["token"]["response_id"] for one in tokens] == ["work_1", "work_2"]
    assert [one for one in done.checkpoints.tokens if one] == ["stops work_1", "stops work_2"]
    assert [[item["type"] for item in one["told"]] for one in tokens] == [
        [],
        ["function_call", "function_call_output"],
    ]
    assert (done.kinds()[-1], text_of(done.answer)) == ("completed", "It rains.")


async def test_the_output_and_usage_before_a_token_are_part_of_the_answer() -> None:
    """A process that resumes the work adds to them."""
    checkpoints = MemoryCheckpoints()
    usage = {"input_token_count": 10, "output_token_count": 1, "total_token_count": 11}
    before = ITEM | {"content": [{"type": "output_text", "text": "Well, ", "annotations": []}]}
    await checkpoints.save(checkpoint({"response_id": "work_0"}, session=session(), told=[before], used=[usage]))
    done = await Attempt(Chat(Script(polls=0)), checkpoints).finish()
    assert (text_of(done.answer), len(done.answer["output"])) == ("Well, All well.", 2)
    assert (done.answer["usage"]["input_tokens"], done.answer["usage"]["total_tokens"]) == (15, 18)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_session_of_an_answer_continues_in_the_next_response(stream: bool) -> None:
    """The model receives what was said before."""
    script, previous = Script(), None
    for question in ("one", "two"):
        chat, checkpoints = Chat(script), MemoryCheckpoints(previous)
        done = await Attempt(chat, checkpoints, input=question, stream=stream).finish()
        previous = done.events[-1].session
    assert [words.replace(" ", "") for words in script.asked[1]] == ["one", "Allwell.", "two"]


async def test_an_answer_whose_session_is_not_portable_leaves_none() -> None:
    """The response still completes. It cannot be continued."""

    def remember(context: FunctionInvocationContext) -> str:
        """Keep a number that JSON cannot express here."""
        assert context.session
        context.session.state["number"] = 2**70
        return "kept"

    done = await attempt(Script([[calls("remember")], says("All ", "well.")]), remember).finish()
    assert (done.kinds()[-1], text_of(done.answer), done.events[-1].session) == ("completed", "All well.", None)
