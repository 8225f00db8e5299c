"""The Checkov scanner finds no failure in what is deployed, and each rule that is left out has a written reason."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.infra.project import VARIANTS
from tests.support.environments import need

KEPT = Path(__file__).parent / "variants"
SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
OPEN = "open to the internet for Entra tokens only, or with VNET_ENABLED closed"
# The rules left out, with the reason of each.
LEFT_OUT = {
    "CKV_AZURE_17": "callers bring keys or Entra tokens, not certificates",
    "CKV_AZURE_35": OPEN,
    "CKV_AZURE_36": "no service of Microsoft needs a way around the firewall",
    "CKV_AZURE_42": "on by default, and a parameter: a trial may be without purge protection",
    "CKV_AZURE_59": OPEN,
    "CKV_AZURE_78": "Flex Consumption refuses ftpsState; passwords for ftp are off",
    "CKV_AZURE_109": OPEN,
    "CKV_AZURE_110": "on by default, and a parameter: a trial may be without purge protection",
    "CKV_AZURE_134": OPEN,
    "CKV_AZURE_189": OPEN,
    "CKV_AZURE_206": "no geo copy on purpose: a lagging table would start work twice",
    "CKV_AZURE_212": "Flex Consumption scales from zero; instances that are always ready are parameters",
    "CKV_AZURE_213": "Flex Consumption has no health check of the platform",
    "CKV_AZURE_222": "callers are on the internet",
    "CKV_AZURE_225": "a parameter: not every region has zones for Flex Consumption",
    "CKV_AZURE_238": "the model account calls nobody, so it needs no identity",
}
# Rules for the configuration `web` of an app, which find `authsettingsV2` and say that it lacks what it cannot have.
LEFT_OUT |= {f"CKV_AZURE_{number}": "the gate is no configuration of a site" for number in (13, 63, 65, 66, 80, 88)}
LEAST = 150  # of all variants


def templates(folder: Path, **changed: tuple[str, str]) -> None:
    """Write the kept variants to a folder as flat templates, which the scanner reads. It does not look into modules."""
    for variant in VARIANTS:
        text = (KEPT / f"{variant}.snapshot.json").read_text(encoding="utf-8")
        old, new = changed.get(variant, ("", ""))
        found = json.loads(text.replace(old, new) if old else text)
        flat = {"$schema": SCHEMA, "contentVersion": "1.0.0.0", "resources": found["resources"]}
        (folder / f"{variant}.json").write_text(json.dumps(flat), encoding="utf-8")


def scanned(folder: Path) -> dict[str, Any]:
    """Return the scanner's report about a folder."""
    program = need("infra") / "bin" / "checkov"
    command = [str(program), "--framework", "arm", "--skip-download", "--output", "json", "--directory", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def failed(found: dict[str, Any]) -> set[str]:
    """Return the rules that a scan has found broken."""
    return {one["check_id"] for one in found["results"]["failed_checks"]}


def test_the_scanner_finds_nothing_and_reads_everything(tmp_path: Path) -> None:
    """The scanner reports no failure but the listed ones, in any variant, and it parses every file."""
    templates(tmp_path)
    found = scanned(tmp_path)
    assert failed(found) == LEFT_OUT.keys()
    assert found["summary"]["parsing_errors"] == 0
    assert found["summary"]["passed"] >= LEAST


def test_every_rule_left_out_has_a_reason() -> None:
    """Each has a reason of at least four words."""
    assert all(len(reason.split()) >= 4 for reason in LEFT_OUT.values())


def test_the_scanner_finds_planted_faults(tmp_path: Path) -> None:
    """Well-known faults are reported as failures when they are planted in what is deployed."""
    templates(
        tmp_path,
        default=('"minimumTlsVersion": "TLS1_2"', '"minimumTlsVersion": "TLS1_0"'),
        keys=('"httpsOnly": true', '"httpsOnly": false'),
    )
    assert failed(scanned(tmp_path)) >= {"CKV_AZURE_14", "CKV_AZURE_44", "CKV_AZURE_70"}
