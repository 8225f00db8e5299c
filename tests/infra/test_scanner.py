"""The Checkov scanner finds no failure, and each rule that is left out has a written reason."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.infra.trees import ENVIRONMENT, ROOT
from tests.support.environments import need

CHECKOV = ENVIRONMENT / "bin" / "checkov"
REASON = re.compile(r"// checkov:skip=(CKV_AZURE_\d+):(.+)")
# The rules left out, by module. The reasons are in the Bicep files, beside the resources.
LEFT_OUT = {
    "storage": {"CKV_AZURE_35", "CKV_AZURE_206"},
    "vault": {"CKV_AZURE_42", "CKV_AZURE_109", "CKV_AZURE_110"},
    "model": {"CKV_AZURE_134", "CKV_AZURE_238"},
    "app": {f"CKV_AZURE_{number}" for number in (13, 17, 63, 65, 66, 78, 80, 88, 212, 213, 222, 225)},
}
# Rules that crash in this version of the scanner and so give no result: on ternaries, and on a configuration.
BROKEN = {("CKV_AZURE_189", "vault.bicep"), ("CKV_AZURE_70", "app.bicep")}
LEAST = 24


def scanned(folder: Path) -> tuple[dict[str, Any], str]:
    """Return the scanner's report about a folder, its exit code included, and its standard error."""
    need("infra")
    command = [str(CHECKOV), "--framework", "bicep", "--skip-download", "--output", "json", "--directory", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "code": done.returncode}, done.stderr


def test_the_scanner_finds_nothing_and_reads_everything() -> None:
    """The scanner reports no failure and skips only the listed rules.

    It parses every file. It would silently pass over a file that it cannot parse.
    """
    found, complaints = scanned(ROOT / "infra")
    summary = found["summary"]
    assert (found["code"], summary["failed"], summary["parsing_errors"]) == (0, 0, 0)
    assert summary["passed"] >= LEAST
    skipped: dict[str, set[str]] = {}
    for one in found["results"]["skipped_checks"]:
        skipped.setdefault(Path(one["file_path"]).stem, set()).add(one["check_id"])
    assert skipped == LEFT_OUT
    assert set(re.findall(r"Failed to run check (\w+) on \S*?(\w+\.bicep)", complaints)) == BROKEN


def test_every_rule_left_out_has_a_reason() -> None:
    """Each rule left out has a reason of at least four words in a comment in the module's file."""
    for name, rules in LEFT_OUT.items():
        reasons = REASON.findall((ROOT / "infra" / "modules" / f"{name}.bicep").read_text(encoding="utf-8"))
        assert {rule for rule, _reason in reasons} == rules
        assert all(len(reason.split()) >= 4 for _rule, reason in reasons)


def test_the_scanner_finds_planted_faults(tmp_path: Path) -> None:
    """Well-known faults are reported as failures when they are planted in our files."""
    shutil.copytree(ROOT / "infra", tmp_path / "infra")
    for name, old, new in [
        ("storage", "'TLS1_2'", "'TLS1_0'"),
        ("storage", "allowBlobPublicAccess: false", "allowBlobPublicAccess: true"),
        ("app", "httpsOnly: true", "httpsOnly: false"),
    ]:
        path = tmp_path / "infra" / "modules" / f"{name}.bicep"
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    found, _complaints = scanned(tmp_path / "infra")
    assert {one["check_id"] for one in found["results"]["failed_checks"]} >= {"CKV_AZURE_14", "CKV_AZURE_44"}
