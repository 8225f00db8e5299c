"""Every command and every program of the README and the docs does what its page says, literally.

The stack is the one of `make start`, and the variables are its `export` lines. The blocks of a page run in one shell.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from local.stack.ports import free_port
from local.stack.process import ROOT
from local.start.lines import ENDS
from tests.support.doc_blocks import PROGRAMS, SHELL, Block, blocks, script

PAGE_S = 100
THE_TEST = "the test has started the stack by the same command, `python -m local start`"
AGENTS = {"AGENTS_MODULE": "examples.agents"}
"""The setting by which docs/agents.md starts the stack. No other page is the worse for it."""

OTHER_UPSTREAM = "there is no such upstream here, and the test has started the stack by the same command without one"
NOT_RUN = {
    "README.md: make demo     # one background response, end to end, with a verified callback: a minute the first "
    "time, then 10 s": "tests/process/test_fresh_clone.py and tests/local/test_commands.py run both",
    "docs/quickstart.md: make start": THE_TEST,
    "docs/quickstart.md: UPSTREAM_BASE_URL=https://api.openai.com/v1 UPSTREAM_API_KEY=sk-… make start": OTHER_UPSTREAM,
    "docs/quickstart.md: UPSTREAM_BASE_URL=http://127.0.0.1:11434/v1 UPSTREAM_API_KEY=none UPSTREAM_MODE=foreground "
    "make start": OTHER_UPSTREAM,
    "docs/laptop.md: python3 -m local.environments app": (
        "tests/process/test_fresh_clone.py installs by the first line, and this test starts the stack by the second"
    ),
    "docs/telemetry.md: TELEMETRY=console make start     # its log has them": THE_TEST,
    "docs/chaos.md: make chaos                          # 10 minutes of load and faults, then the audit": (
        "it takes minutes, and tests/process/test_chaos.py runs one of them"
    ),
    "docs/agents.md: AGENTS_MODULE=examples.agents make start": THE_TEST,
    "docs/agents.md: # agents.py": "it is a module of the app, which tests/process/test_agents.py serves",
    "docs/figures.md: DELIVERIES=10000 .venv/bin/python -m pytest tests/process/crashes/test_deliveries_many.py": (
        "it takes minutes, and is a test by itself"
    ),
}
WITH_CSHARP = "docs/callbacks.md"
"""The page with a program in C#, which Mono compiles and runs."""

ON_AZURE = {"docs/deploy.md", "docs/operations.md", "docs/landing-zones.md"}
"""The pages whose commands are all for a deployment, which needs a subscription."""

WHOLE = r"^This answer is simulated by sim-2s: an outline of what it was given, 5 words\.1\. Why do long calls break\?$"
"""The text of a stream that was cut and resumed: all of it, and nothing twice."""

IN_PARTS = (
    r"^This answer is simulated by sim-2s: an outline of what it was given, 5 words\.\n1\. Why do long calls break\?$"
)
"""The same text, with its line break."""

FRAME = 'event: a\nid: ct_1\ndata: {"sequence_number": 1}\n\n'
NO_PROGRAM = {"json", "text", "mermaid"}
SHOWN = {
    "README.md": [r'"continuation_token": ?"ct_', r"completed This answer is simulated by sim-5s"],
    "docs/quickstart.md": [r'"status": "queued"', r"^completed\n", r"^resp_", IN_PARTS, r"^completed This answer"],
    "docs/callbacks.md": [r"(?s)(response\.completed resp_.*){2}", r"^response\.completed$", r'"state":', r"resp_"],
    "docs/streaming.md": [r"^event: response\.created$", WHOLE, r"^cancelled$"],
    "docs/troubleshoot.md": [r'"upstream"', r'"status": "', r"^\[", r"^\d+$"],
    "docs/deliveries.md": [r'"attempts"', r'"recovered": ?0'],
    "docs/telemetry.md": [r'"event": ?"response\.accepted"', r'"event": ?"response\.completed"'],
    "docs/api.md": [r"^event: response\.completed$", r"^completed This answer"],
    "docs/queues.md": [r"^7 completed$"],
    "docs/agents.md": [r'^"completed"$'],
}
"""What the output of a page's blocks must have."""


def is_program(block: Block) -> bool:
    """Return whether a block can be run here."""
    return block.language in {SHELL, *PROGRAMS} and block.name not in NOT_RUN and block.page not in ON_AZURE


EVERY = list(blocks())
RUN = {page: [one for one in EVERY if one.page == page and is_program(one)] for page in {one.page for one in EVERY}}


def need_tools(page: str) -> None:
    """Skip on a laptop without the tools that a page asks for. In CI that is a failure."""
    asked = ("curl", "jq", "node", *(("mcs", "mono") if page == WITH_CSHARP else ()))
    missing = [name for name in asked if shutil.which(name) is None]
    if missing:
        reason = f"there is no {', '.join(missing)} here"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run `python -m local start` until the end, and return the lines that it tells a reader to paste."""
    folder = tmp_path_factory.mktemp("start")
    command = [sys.executable, "-m", "local", "start"]
    environment = {**os.environ, "PORT": str(free_port()), **AGENTS}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.rstrip() == ENDS:
                break
        with (folder / "rest").open("w") as rest, subprocess.Popen(["cat"], stdin=process.stdout, stdout=rest):
            yield "".join(line for line in lines if line.startswith("  export "))
            ended = process.poll()
            process.send_signal(signal.SIGINT)
            assert ended is None, "the stack ended before the pages did: see its error output"


def output_of(text: str, folder: Path) -> tuple[int, str, str]:
    """Run a script as a reader's shell does, in a folder of its own. Return its exit code and its two outputs."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("UPSTREAM_", "PORT"))}
    with subprocess.Popen(
        ["bash", "-c", text],
        cwd=folder,
        env={**environment, "PATH": path, "no_proxy": "127.0.0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            shown, notes = shell.communicate(timeout=PAGE_S)
        finally:
            with suppress(ProcessLookupError):  # a page may leave a receiver
                os.killpg(shell.pid, signal.SIGKILL)
    return shell.returncode, shown, notes


@pytest.mark.parametrize("page", sorted(page for page, found in RUN.items() if found))
def test_the_blocks_of_a_page_do_what_it_says(page: str, exported: str, tmp_path: Path) -> None:
    """They succeed, show what the page promises, and no answer is an error."""
    need_tools(page)
    code, shown, notes = output_of(f"{exported}\n{script(RUN[page], tmp_path)}", tmp_path)
    assert code == 0, f"{notes}\n{shown}"
    assert not re.search(r'"error": ?\{', shown), shown
    for expected in SHOWN[page]:
        assert re.search(expected, shown, re.MULTILINE), f"{expected} is not in:\n{shown}\n{notes}"


@pytest.mark.parametrize("page", ["docs/quickstart.md", "docs/streaming.md", "docs/api.md"])
def test_a_stream_that_is_cut_inside_of_an_event_is_kept_up_to_the_event_before(page: str, tmp_path: Path) -> None:
    """On loopback frames arrive whole. Elsewhere a cut may show the id of an event whose data is missing."""
    (block,) = [one for one in RUN[page] if "--max-time 1" in one.text]
    keeps = re.search(r"^head .* > (\S+)", block.text, re.MULTILINE)
    token = re.search(r"^TOKEN=.*$", block.text, re.MULTILINE)
    assert keeps
    assert token
    (tmp_path / "part.txt").write_text(f"{FRAME}event: b\nid: ct_2\ndata: {{")
    code, shown, _ = output_of(f"set -e\n{keeps[0]}\n{token[0]}\necho $TOKEN; cat {keeps[1]}", tmp_path)
    assert (code, shown) == (0, f"ct_1\n{FRAME}")


def test_every_page_that_runs_has_something_to_show() -> None:
    """A page whose output is not looked at could be wrong unseen."""
    assert SHOWN.keys() == {page for page, found in RUN.items() if found}


@pytest.mark.parametrize("block", [one for one in EVERY if one.language == "json"], ids=lambda one: one.name[:60])
def test_a_block_of_json_can_be_parsed(block: Block) -> None:
    """A reader can copy it."""
    json.loads(block.text)


def test_what_is_not_run_is_listed_with_the_reason() -> None:
    """Each entry of the list is a block that exists, and every block runs, is listed, or is no program."""
    names = {one.name for one in EVERY}
    assert NOT_RUN.keys() - names == set()
    left = {one.name for one in EVERY if not is_program(one) and one.language not in NO_PROGRAM}
    azure = {one.name for one in EVERY if one.page in ON_AZURE and one.language not in NO_PROGRAM}
    assert left - azure == NOT_RUN.keys()


def test_every_command_of_the_page_for_azure_needs_a_deployment() -> None:
    """They are left out because each names azd, az, a resource of a deployment, or the address of its app."""
    commands = [one for one in EVERY if one.page in ON_AZURE and one.language == SHELL]
    assert [one.name for one in commands if not re.search(r"\baz(d)? |\$APP_|\$AZURE_", one.text)] == []
