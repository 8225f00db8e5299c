"""What a deployment packs, by the rules of .gitignore that azd and editors apply to .funcignore, and how it starts."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pathspec import GitIgnoreSpec

from infra.hooks.package import Excludes, patterns

# Imports the app from folders, and notes every module that the import compiles from its source. What libraries compile
# themselves, such as the methods of a data class, is not meant.
_START = """
import json, sys, time
compiled = []
def note(event, details):
    if event == "compile" and sys._getframe(1).f_code.co_filename == "<frozen importlib._bootstrap>":
        compiled.append(str(details[1]))
sys.addaudithook(note)
sys.path[:0] = sys.argv[1:]
began, cpu = time.perf_counter(), time.process_time()
import function_app
took, cpu = time.perf_counter() - began, time.process_time() - cpu
modules = list(sys.modules.values())
specs = [one.__spec__ for one in modules if getattr(one, "__spec__", None)]
app = getattr(function_app, "app", None)
json.dump({
    "compiled": compiled,
    "files": [one for module in modules if (one := getattr(module, "__file__", None))],
    "cached": {one.name: one.cached for one in specs},
    "names": [one.get_function_name() for one in app.get_functions()] if app else [],
    "s": took,
    "cpu_s": cpu,
}, sys.stdout)
"""


def by_git() -> Excludes:
    """Return a predicate that says whether a path is excluded by the rules of .gitignore."""
    return GitIgnoreSpec.from_lines(patterns()).match_file


def started(interpreter: list[str], folder: Path, *below: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Import the app of an unpacked package as the worker does, and return what that shows.

    `interpreter` is Python with its flags. `below` are folders of the package that have libraries. The result has what
    was `compiled`, the `files` of the modules, where their bytecode is (`cached`), the `names` of the functions, and
    how long the import took (`s`, `cpu_s`).
    """
    command = [*interpreter, "-c", _START, str(folder), *(str(folder / name) for name in below)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, check=False, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found
