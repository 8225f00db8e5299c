"""Codex, as npm installs it, gets whole answers from the running service, also if its streams are cut.

It runs `codex exec` with a home of its own and can reach no other host. Its first tool runs a command, so the model
that calls a tool runs the first line of the instructions, which is harmless.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.azurite import Azurite
from tests.support.connection_cutter import cutter
from tests.support.environments import need
from tests.support.peer_processes import Json
from tests.support.service_process import Service, service

DEADLINE_S = 120
CONFINED = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
INSTRUCTIONS = 'echo "The tool says $((6 * 7))" # This line is a command, for the model that calls a tool.\n'
CONFIGURATION = """
model = "{model}"
model_provider = "service"
model_instructions_file = "{home}/instructions.md"
approval_policy = "never"
sandbox_mode = "danger-full-access"

[model_providers.service]
name = "the service"
base_url = "{url}/openai/v1"
wire_api = "responses"
env_key = "KEY"
request_max_retries = 2
stream_max_retries = {retries}
supports_websockets = {websockets}
"""
CUTS = (0, 900, 75_000)
"""After how many bytes each of the first connections is cut.

The first is cut before the answer, the second within the first event, and the third within the text. Codex sends 20 KB
of tools with every request, and each of the two events before the text repeats them. The text begins after 58 KB.
"""


@dataclass(frozen=True)
class Turn:
    """What Codex says of a turn: its exit code, its events and its own log."""

    code: int
    events: list[Json]
    log: str

    def items(self, kind: str) -> list[Json]:
        """Return the completed items of one type."""
        done = (event["item"] for event in self.events if event["type"] == "item.completed")
        return [item for item in done if item["type"] == kind]

    @property
    def text(self) -> str:
        """The one message of the model."""
        (message,) = self.items("agent_message")
        return str(message["text"])

    @property
    def errors(self) -> list[str]:
        """What Codex has said about lost streams and failures."""
        return [event["message"] for event in self.events if event["type"] == "error"]


@dataclass(frozen=True)
class Codex:
    """Codex with a configuration, whose sessions are kept in `home`."""

    program: Path
    home: Path
    service: Service

    def ask(
        self, model: str, prompt: str = "One. Two.", *, url: str = "", retries: int = 5, websockets: bool = False
    ) -> Turn:
        """Make one turn, and return it when Codex has ended."""
        self._configure(
            model=model,
            url=url or self.service.hosts[0].url,
            retries=str(retries),
            websockets=str(websockets).lower(),
        )
        ran = subprocess.run(
            [str(self.program), "exec", "--json", "--skip-git-repo-check", prompt],
            cwd=self.home,
            env=self._environment(),
            stdin=subprocess.DEVNULL,  # Codex adds what it reads there to the prompt
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert ran.stdout, ran.stderr
        return Turn(ran.returncode, [json.loads(line) for line in ran.stdout.splitlines()], ran.stderr)

    def _configure(self, **values: str) -> None:
        (self.home / "instructions.md").write_text(INSTRUCTIONS)
        (self.home / "config.toml").write_text(CONFIGURATION.format(home=self.home, **values))

    def _environment(self) -> dict[str, str]:
        key, home = self.service.callers["first"].api_key, str(self.home)
        return {"PATH": os.environ["PATH"], "HOME": home, "CODEX_HOME": home, "KEY": key, **CONFINED}


@pytest.fixture(scope="module", params=["background", "foreground"])
def running(
    request: pytest.FixtureRequest, azurite: Azurite, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Run a service with an upstream of either kind. It must have logged nothing unexpected at the end."""
    with service(tmp_path_factory.mktemp("codex"), azurite.account(), UPSTREAM_MODE=request.param) as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture
def codex(running: Service, tmp_path: Path) -> Codex:
    """Return Codex with an empty home, and a model that has done nothing. Without npm there is none."""
    running.model.reset()
    return Codex(need("nightly-codex") / ".bin" / "codex", tmp_path, running)


def works(running: Service) -> int:
    """Return how many works the model has started."""
    return len(running.model.stats()["started"])


def test_codex_gets_the_whole_answer(running: Service, codex: Codex) -> None:
    """One turn is one response, and its reasoning and its usage arrive, too."""
    turn = codex.ask("sim-reason-2s")
    assert (turn.code, turn.errors, works(running)) == (0, [], 1)
    assert turn.text.startswith("This answer is simulated by sim-reason-2s")
    assert [item["text"] for item in turn.items("reasoning")] == ["Simulated by sim-reason-2s."]
    assert turn.events[-1]["type"] == "turn.completed"
    assert turn.events[-1]["usage"]["output_tokens"] > 0


def test_a_cut_stream_of_codex_is_one_work(running: Service, codex: Codex) -> None:
    """Codex repeats the POST, and joins the work that it has left. The answer is whole, from its first tick on."""
    with cutter(running.hosts[0].port, *CUTS) as (url, relay):
        turn = codex.ask("sim-clock-6s", url=url)
    assert (turn.code, relay.cuts, works(running)) == (0, len(CUTS), 1)
    assert len(turn.errors) == 2  # Codex repeats a call without an answer in silence
    ticks = [int(tick) for tick in turn.text.split()]
    assert len(ticks) == 120
    assert ticks == sorted(ticks)


def test_a_stream_that_is_cut_after_the_end_of_its_work_is_one_work(running: Service, codex: Codex) -> None:
    """The model has answered long before Codex asks again. The repeat gets that answer."""
    with cutter(running.hosts[0].port, 150_000) as (url, relay):
        turn = codex.ask("sim-events-1000", url=url)
    assert (turn.code, relay.cuts, works(running)) == (0, 1, 1)
    assert turn.text == " ".join(map(str, range(1_000)))


def test_codex_runs_the_tool_that_the_model_calls(running: Service, codex: Codex) -> None:
    """The output of the command is the input of a second response, which ends the turn."""
    turn = codex.ask("sim-tool")
    (command,) = turn.items("command_execution")
    assert (command["exit_code"], command["aggregated_output"]) == (0, "The tool says 42\n")
    assert (turn.code, works(running)) == (0, 2)
    assert "an outline of the output of exec_command" in turn.text


def test_codex_says_that_the_model_has_failed(running: Service, codex: Codex) -> None:
    """It tries a failed model as often as it is configured to, each time as new work, and then ends with an error."""
    turn = codex.ask("sim-fail-0.5s", retries=1)
    assert (turn.code, works(running)) == (1, 2)
    assert turn.events[-1]["type"] == "turn.failed"
    assert "Simulated failure, as the model sim-fail-0.5s promises." in turn.events[-1]["error"]["message"]


def test_codex_says_that_there_is_no_such_model(running: Service, codex: Codex) -> None:
    """The refusal of the upstream is final, so Codex does not repeat the call."""
    turn = codex.ask("no-such-model")
    assert (turn.code, works(running), len(turn.errors)) == (1, 0, 1)
    assert "The model 'no-such-model' does not exist." in turn.events[-1]["error"]["message"]


def test_codex_goes_on_over_http_where_it_may_use_a_websocket(running: Service, codex: Codex) -> None:
    """The service refuses the upgrade, and Codex sends the same request as a POST."""
    turn = codex.ask("sim-1s", websockets=True)
    assert "failed to connect to Responses WebSocket" in turn.log
    assert (turn.code, turn.errors, works(running)) == (0, [], 1)
    assert turn.text.startswith("This answer is simulated by sim-1s")
