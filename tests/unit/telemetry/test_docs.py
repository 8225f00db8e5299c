"""docs/telemetry.md names exactly the metrics and events of the code, and only attributes that the code sets."""

import ast
import re

from local.stack.process import ROOT
from shared.core.states import Status
from tests.infra.alerts import logged, measured

PLACES = ("telemetry/lifecycle.py", "telemetry/metrics.py", "telemetry/operations.py", "upstreams/agents/upstream.py")
TEXT = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8")


def chapter(name: str) -> str:
    """Return a section of the page."""
    return TEXT.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def rows(name: str) -> list[str]:
    """Return the first column of the table in a section, without its heading."""
    return re.findall(r"^\| (`.+?`) \|", chapter(name), re.MULTILINE)


def test_the_metrics_are_those_of_the_code() -> None:
    """The page lists every metric and no others."""
    assert {row.strip("`") for row in rows("Metrics")} == {name for name in measured() if "." in name}


def test_the_events_are_those_of_the_code() -> None:
    """The page lists every event about responses, among them one per status, and `delivery.attempted`."""
    named = {name for row in rows("Lines") for name in re.findall(r"`([a-z_.]+)`", row) if name != "event"}
    named = {f"response{name}" if name.startswith(".") else name for name in named}
    statuses = {f"response.{status}" for status in Status if status is not Status.QUEUED}
    assert named == statuses | {name for name in logged() if name.startswith("response.")} | {"delivery.attempted"}


def test_the_attributes_are_those_of_the_code() -> None:
    """Every GenAI attribute on the page is one that the code sets."""
    sources = "".join((ROOT / "shared" / name).read_text("utf-8") for name in PLACES)
    names = {one.value for one in ast.walk(ast.parse(sources)) if isinstance(one, ast.Constant)}
    received = set(re.findall(r"`(gen_ai\.[a-z_.]+)`", TEXT))
    assert received <= names | {"gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"}
