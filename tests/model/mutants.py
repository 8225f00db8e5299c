"""Faults planted in the engine, one at a time, for the model to find: `python -m tests.model.mutants`.

A mutant is the product's source with a few texts replaced, in a copy. Nothing is patched at run time. `seed` is one
whose runs find it soon. Where a rare order of steps finds it, `scenario` has these steps.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree, ignore_patterns

ROOT = Path(__file__).parents[2]
EXAMPLES = 40
DEADLINE_S = 240
FOUND = 3  # the exit code of a search that has found a violation


@dataclass(frozen=True)
class Mutant:
    """A fault: what it breaks, in which module, which text is replaced by which, and the seed or steps that find it."""

    name: str
    breaks: str
    module: str
    old: str
    new: str
    seed: int = 1
    scenario: str = ""


MUTANTS = (
    Mutant(
        "no-fence",
        "the record is updated whatever its ETag is, so a decision from an old record overwrites a newer one",
        "storage/operations.py",
        'return ("update", entity, {"mode": UpdateMode.MERGE, **_if_match(record.etag)})\n\n\ndef _alarm',
        'return ("update", entity, {"mode": UpdateMode.MERGE})\n\n\ndef _alarm',
    ),
    Mutant(
        "silence-is-success",
        "a write without an answer is taken for done",
        "storage/store.py",
        'if there is None or there["write_id"] != write_id:\n                    if failed.refusal',
        'if there is None or (failed.index is not None and there["write_id"] != write_id):\n'
        "                    if failed.refusal",
    ),
    Mutant(
        "end-without-callback",
        "the end of a response forgets its deliveries",
        "transitions/response_transitions.py",
        "alarms_in=(*alarms.values(), purge, *stops)",
        "alarms_in=(purge, *stops)",
    ),
    Mutant(
        "end-without-purge",
        "an ended response is kept for ever",
        "transitions/response_transitions.py",
        "alarms_in=(*alarms.values(), purge, *stops)",
        "alarms_in=(*alarms.values(), *stops)",
    ),
    Mutant(
        "cancel-without-stop",
        "the work of a cancelled response goes on",
        "transitions/response_transitions.py",
        "if ending.stop and token else ()",
        "if False else ()",
    ),
    Mutant(
        "start-without-poll",
        "a started response has no alarm, so its end is not seen if the process dies",
        "transitions/response_transitions.py",
        "return ChangeSet(changed, alarms_in=(poll,), rows=rows, writes_body=True, wake_for=",
        "return ChangeSet(changed, rows=rows, writes_body=True, wake_for=",
    ),
    Mutant(
        "claim-beside-the-offer",
        "a claim leaves the alarm of the offer, so a held run is offered again",
        "transitions/run_transitions.py",
        "alarms_out=(record.run.alarm_key,))",
        "alarms_out=())",
    ),
    Mutant(
        "failure-is-delivered",
        "a 5xx of the receiver is taken for its acceptance",
        "deliveries/retry_policy.py",
        "if 200 <= status < 300:",
        "if 200 <= status < 600:",
    ),
    Mutant(
        "retry-without-alarm",
        "a failed attempt removes its alarm, and sets none for the next one",
        "transitions/delivery_transitions.py",
        "next_alarms = (following,) if following else ()",
        "next_alarms = ()",
    ),
    Mutant(
        "one-permit-too-many",
        "a gate gives one more permit than its limit",
        "core/gates/phases.py",
        "max(0, limit - state.used)",
        "max(0, limit + 1 - state.used)",
        seed=2,
    ),
    Mutant(
        "waiting-without-alarm",
        "a response in a line has no alarm at its deadline",
        "transitions/upstream_transitions.py",
        "return ChangeSet(replace(record, wait=wait, acknowledged=True), alarms_in=(alarm,))",
        "return ChangeSet(replace(record, wait=wait, acknowledged=True))",
    ),
    Mutant(
        "another-key",
        "a repeated start has another idempotency key, so the upstream begins the work twice",
        "starts/submission.py",
        "progress = await upstream.start(request, record.id)",
        "progress = await upstream.start(request, f'{record.id}-{held.counted}')",
    ),
    Mutant(
        "purge-leaves-children",
        "the purge removes the record, and leaves the rows beside it",
        "storage/store.py",
        "sent = [record_out, operations.delete(shard, alarm_key), *index, *children]",
        "sent = [record_out, operations.delete(shard, alarm_key), *index]",
    ),
    Mutant(
        "delete-beside-the-old-purge",
        "a delete leaves the purge alarm that was there",
        "transitions/retention_transitions.py",
        "alarms_in=(purge,), alarms_out=(record.purge_key,), wake_for=(purge,))",
        "alarms_in=(purge,), wake_for=(purge,))",
    ),
    Mutant(
        "deferred-without-alarm",
        "a start that is put off removes its alarm, and sets none",
        "transitions/upstream_transitions.py",
        "return ChangeSet(changed, alarms_in=(alarm,), wake_for=(alarm,))",
        "return ChangeSet(changed)",
        seed=2,
    ),
    Mutant(
        "lists-show-both",
        "an ended response stays among the unfinished ones",
        "transitions/listing.py",
        "index_out=(*change.index_out, *((_entry_key(after),) if after.listed else ())),",
        "index_out=change.index_out,",
    ),
    Mutant(
        "tail-skips-one",
        "a reader of the log misses the first event of a batch",
        "runs/tail.py",
        "for number, event in enumerate(events, batch.first):",
        "for number, event in list(\n                    enumerate(events, batch.first)\n                )[1:]:",
    ),
    Mutant(
        "no-heartbeat",
        "what is overdue is woken by no timer, so a lost message is a lost response",
        "scheduler/heartbeat.py",
        "if due_ms is not None and due_ms < now_ms + HEARTBEAT_MS:",
        "if due_ms is not None and due_ms < 0:\n        return 0\n    late_ms = 0\n    if due_ms is None and late_ms:",
    ),
    Mutant(
        "end-at-the-last-stored-number",
        "a cancel ends a stream under a number that a reader may have seen already",
        "transitions/response_transitions.py",
        "else max(log.next_seq, log.high_water_mark)",
        "else log.next_seq",
        scenario="cancelled_behind_its_reader",
    ),
    Mutant(
        "takeover-under-the-old-epoch",
        "the next holder of a run has the epoch of the last one, so both may write",
        "transitions/run_transitions.py",
        "epoch=record.run.epoch + claimed,",
        "epoch=record.run.epoch,",
        scenario="taken_over",
    ),
    Mutant(
        "orphan-goes-on",
        "work that was started for a response that has ended meanwhile is not stopped",
        "starts/submission.py",
        "        return upstream_transitions.stop_orphan(record, token, progress.upstream_id, now_ms), _Start("
        "is_orphan=True)",
        "        return None, _Start(is_orphan=True)",
        scenario="cancelled_in_its_start",
    ),
    Mutant(
        "token-never-learned",
        "a response that was cancelled during its start forgets the work that may have begun",
        "starts/submission.py",
        "return honours_keys and ports.clock.now_ms()",
        "return False and ports.clock.now_ms()",
        scenario="cancelled_after_a_lost_answer",
    ),
    Mutant(
        "known-response-removed",
        "a refused response is removed although its caller has its id",
        "starts/failed_starts.py",
        "    if record.acknowledged:\n        return await fail_start",
        "    if record is None:\n        return await fail_start",
        scenario="refused_from_the_queue",
    ),
    Mutant(
        "stale-holder-writes",
        "a holder goes on writing after another one has taken its run",
        "runs/lease.py",
        "is_lost = current.run.epoch != self.record.run.epoch or current.status.is_terminal",
        "is_lost = current.status.is_terminal",
        scenario="taken_over",
    ),
)
"""Every test run hunts them. Each is found within a few runs, or in a scenario whose order of steps is rare."""


def plant(mutant: Mutant, folder: Path) -> None:
    """Make a copy of the product in a folder, with the fault, beside the tests as they are."""
    copytree(ROOT / "shared", folder / "shared", ignore=ignore_patterns("__pycache__"))
    for name in ("tests", "local"):
        (folder / name).symlink_to(ROOT / name)
    path = folder / "shared" / mutant.module
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise ValueError(
            f"{mutant.name}: its text must be in {mutant.module} once, and is {text.count(mutant.old)} times"
        )
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")


def hunt(mutant: Mutant, seed: int | None = None, examples: int = EXAMPLES) -> tuple[bool, str]:
    """Search the model for a planted fault. Return whether it was found, and what the search printed.

    With a seed, the runs are random, also for a fault that has a scenario.
    """
    with tempfile.TemporaryDirectory() as folder:
        plant(mutant, Path(folder))
        asked = ["--first", "--seed", str(mutant.seed if seed is None else seed), "--examples", str(examples)]
        if mutant.scenario and seed is None:
            asked = ["--scenario", mutant.scenario]
        done = subprocess.run(
            [sys.executable, "-m", "tests.model.search", *asked],
            cwd=folder,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    return done.returncode == FOUND, done.stdout + done.stderr


def main() -> int:
    """Hunt the mutants that are named, or all, with the seed of each or with the one that is given.

    A name that no mutant has ends the program, because a hunt for nothing would look like a success.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--examples", type=int, default=EXAMPLES)
    asked, missed = parser.parse_args(), 0
    known = {mutant.name: mutant for mutant in MUTANTS}
    if unknown := [name for name in asked.names if name not in known]:
        parser.error(f"there is no mutant {', '.join(unknown)}. Their names are: {', '.join(known)}")
    for mutant in [known[name] for name in asked.names or known]:
        began_s = time.monotonic()
        is_found, said = hunt(mutant, asked.seed, asked.examples)
        told = said.strip().splitlines()[-1][:150]
        print(
            f"{mutant.name:32} {time.monotonic() - began_s:5.1f} s  {'found' if is_found else 'MISSED'}  {told}",
            flush=True,
        )
        missed += not is_found
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
