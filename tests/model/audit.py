"""What must be true of storage after every transaction: the invariants of the design, from the rows alone."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from shared.core import event_log, keys
from shared.core.alarms import Alarm, Kind
from shared.core.entries import Listing
from shared.core.gates import gate_keys
from shared.core.gates.state import GateState
from shared.core.ids import shard_of, tag
from shared.core.records import ExecutionMode, Record
from shared.storage import codec
from shared.storage.gates import rows as gate_rows
from shared.storage.table_client import Entity
from tests.support.fakes.table_service import Row, TableService

TABLE = "responses"


class Violated(AssertionError):
    """An invariant does not hold."""


def holds(truth: object, invariant: str, about: object) -> None:
    """Raise Violated unless the invariant holds."""
    if not truth:
        raise Violated(f"{invariant}: {about}")


@dataclass(frozen=True)
class Seen:
    """A response as storage has it: its record, its alarms, and the keys of the rows beside the record."""

    record: Record | None
    alarms: list[Alarm]
    children: list[str]

    def of(self, kind: Kind) -> list[Alarm]:
        """Return the alarms of a kind that are about the response itself."""
        return [one for one in self.alarms if one.kind is kind and one.target not in ("u", keys.REPEATS_TARGET)]


class Audit:
    """Checks every transaction, and keeps what it finds. `limits` are those of the gates, by partition."""

    def __init__(self, service: TableService, limits: Mapping[str, int]) -> None:
        self._service, self._limits = service, limits
        self.violations: list[Violated] = []
        self.ended: dict[str, str] = {}  # the status of every response that has ended, also when it is purged
        self._used = Counter[str]()
        self._known: dict[str, Record] = {}  # as decoded last, by row key
        service.listeners.append(self._note)

    def _note(self, partition: str, before: Mapping[str, Row | None]) -> None:
        try:
            if partition.startswith("gate:"):
                self._check_gate(partition)
            elif partition != gate_keys.REGISTRY:
                self._check_responses(partition, before)
        except Violated as violated:
            self.violations.append(violated)

    # Responses

    def records(self) -> list[Record]:
        """Return all records, in order."""
        found = []
        for shard in sorted(self._service.tables.get(TABLE, {})):
            partition = self._service.rows(TABLE, shard)
            found += [self._record(row) for key, row in partition.rows.items() if _is_record(key)]
        return [one for one in found if one]

    def seen(self, response_id: str) -> Seen:
        """Return a response as storage has it."""
        partition = self._service.rows(TABLE, shard_of(response_id))
        alarms = [
            codec.decode_alarm(key, partition.rows[key]["facts"], "")
            for key in partition.between(keys.ALARMS, keys.ALARMS + keys.END)
            if response_id in key
        ]
        prefix = keys.children_from(response_id)
        record = self._record(partition.rows.get(keys.record_key(response_id)))
        return Seen(record, alarms, partition.between(prefix, prefix + keys.END))

    def log(self, response_id: str) -> dict[int, event_log.Event]:
        """Return the stored events of a response by number."""
        partition, found = self._service.rows(TABLE, shard_of(response_id)), {}
        between = partition.between(keys.events_from(response_id, 0), keys.events_end(response_id))
        for batch in event_log.read_page([Entity(partition.rows[key]) for key in between]).batches:
            for place, event in enumerate(() if batch.ends else batch.events):
                found[batch.first + place] = event
        return found

    def _check_responses(self, shard: str, before: Mapping[str, Row | None]) -> None:
        for key, row in before.items():
            if _is_record(key):
                self._check_change(self._record(row), self.seen(key.removeprefix("resp|")), before)
        for response_id in sorted({part for key in before for part in key.split("|") if part.startswith("resp_")}):
            if shard_of(response_id) == shard:
                self.check_now(response_id)

    def _record(self, row: Row | None) -> Record | None:
        if row is None:
            return None
        etag, key = row["odata.etag"], row["RowKey"]
        if (known := self._known.get(key)) and known.etag == etag:
            return known
        there = Entity(row)
        body, write_id = there.get("body", b""), there["write_id"]
        self._known[key] = codec.decode_record(there["facts"], body=body, write_id=write_id, etag=etag)
        return self._known[key]

    def _check_change(self, old: Record | None, now: Seen, before: Mapping[str, Row | None]) -> None:
        new = now.record
        if new is None:
            if old and old.upstream.refusal:
                self.ended.pop(old.id, None)  # nobody has its id, so a repeat of the request may make it anew
            holds(
                old and (old.status.is_terminal or not old.acknowledged), "a known response is kept until it ends", old
            )
            return
        if new.status.is_terminal:
            self.ended.setdefault(new.id, str(new.status))
        if old is None:
            return
        told = (old.id, old.status, new.status)
        if old.status.is_terminal:
            same = (old.status, old.ended_ms, old.error, old.body, old.body_rows)
            holds(same == (new.status, new.ended_ms, new.error, new.body, new.body_rows), "terminal is final", told)
        elif new.status.is_terminal:
            self._check_end(old, now, before)
        holds(new.run.epoch >= old.run.epoch, "epochs only grow", told)
        holds(new.log.next_seq >= old.log.next_seq, "numbers only grow", told)
        holds(new.log.high_water_mark >= old.log.high_water_mark, "what is reserved stays so", told)
        holds(new.upstream.token or not old.upstream.token, "the token is never lost", told)
        is_polled = old.run.mode is ExecutionMode.POLL and old.upstream.token
        holds(not is_polled or new.upstream.token == old.upstream.token, "the token stays the same", told)
        self._check_events(old, new, before)

    def _check_end(self, old: Record, now: Seen, before: Mapping[str, Row | None]) -> None:
        """Check that the end, its deliveries, its purge and its stop are one transaction."""
        new = now.record
        assert new
        written = [alarm for alarm in now.alarms if alarm.key in before]
        kinds = Counter(alarm.kind for alarm in written)
        targets = new.request.targets(f"response.{new.status}")
        holds(kinds[Kind.PURGE] == 1, "an end writes a purge alarm", new.id)
        holds(kinds[Kind.DELIVER] == len(targets) == len(new.deliveries), "an end includes its deliveries", new.id)
        is_stop = new.run.epoch > old.run.epoch and new.upstream.token
        holds(not is_stop or kinds[Kind.STOP], "an end from outside stops the work", new.id)

    def _check_events(self, old: Record, new: Record, before: Mapping[str, Row | None]) -> None:
        prefix = keys.children_from(old.id, "event")
        firsts = [keys.first_event_of(key) for key, row in before.items() if key.startswith(prefix) and row is None]
        if not firsts:
            return
        starts = {old.log.next_seq, max(old.log.next_seq, old.log.high_water_mark)}
        holds(min(firsts) in starts, "events follow the last one, or all that were reserved", (old.id, firsts, starts))
        is_held = old.run.claimed and new.run.epoch == old.run.epoch
        holds(is_held or new.status.is_terminal, "only the holder of a run appends events", old.id)

    def check_now(self, response_id: str) -> None:
        """Check the alarms and the rows of a response as they are."""
        seen = self.seen(response_id)
        if seen.record is None:
            holds(not seen.children, "no row is without its record", seen.children)
        elif seen.record.status.is_terminal:
            self._check_ended(seen.record, seen)
        else:
            self._check_unfinished(seen.record, seen)

    def _check_unfinished(self, record: Record, seen: Seen) -> None:
        own = [one for one in seen.of(Kind.RUN) if one.epoch == record.run.epoch]
        counts = {Kind.RUN: len(own), Kind.START: len(seen.of(Kind.START)), Kind.POLL: len(seen.of(Kind.POLL))}
        told = (record.id, record.run, counts)
        if record.run.mode is ExecutionMode.RUN:
            holds(counts[Kind.RUN] + counts[Kind.START] >= 1, "a run has its alarm", told)
        else:
            kind = Kind.POLL if record.upstream.token else Kind.START
            holds(counts[kind] >= 1, f"an unfinished response has its {kind} alarm", told)
        holds(max(counts.values()) <= 1, "no alarm is there twice", told)
        self._check_lists(record, Listing.LIVE)

    def _check_ended(self, record: Record, seen: Seen) -> None:
        holds(len(seen.of(Kind.PURGE)) == 1, "an ended response has one purge alarm", (record.id, seen.alarms))
        for delivery in record.deliveries:
            own = [
                one
                for one in seen.of(Kind.DELIVER)
                if one.target == delivery.target and one.schedule == delivery.schedule
            ]
            told = (record.id, delivery, seen.alarms)
            holds(len(own) == 1 or not delivery.is_open, "an open delivery has its alarm", told)
        self._check_lists(record, Listing.ENDED)

    def _check_lists(self, record: Record, listing: Listing) -> None:
        there = self._service.rows(TABLE, shard_of(record.id)).rows
        found = [
            one
            for one in (Listing.LIVE, Listing.ENDED)
            if keys.entry_key(one, tag(record.caller), record.created_ms, record.id) in there
        ]
        holds(found == [listing], "lists show a response once", (record.id, found))

    # Gates

    def _check_gate(self, partition: str) -> None:
        there = {key: Entity(row) for key, row in self._service.rows(TABLE, partition).rows.items()}
        stored = gate_rows.read_gate(there[gate_keys.GATE]) if gate_keys.GATE in there else None
        state = (stored.state if stored else None) or GateState()
        running = Counter(
            gate_rows.read_hold(row).place.caller for key, row in there.items() if key.startswith(gate_keys.HOLDS)
        )
        waiting = Counter(
            gate_rows.read_wait(row).caller for key, row in there.items() if key.startswith(gate_keys.WAITS)
        )
        told, lines = (state, running, waiting), state.lines.values()
        holds(state.used == running.total(), "G1: used is the number of permits", told)
        holds(Counter({one.caller: one.running for one in lines if one.running}) == running, "G1: running", told)
        holds(Counter({one.caller: one.waiting for one in lines if one.waiting}) == waiting, "G1: waiting", told)
        limit = self._limits.get(partition)
        holds(limit is None or state.used <= max(limit, self._used[partition]), "G1: the limit", told)
        self._used[partition] = state.used


def _is_record(key: str) -> bool:
    return key.startswith("resp|") and key.count("|") == 1


def rows_left(service: TableService) -> Iterable[str]:
    """Yield the partition and the key of every row that is about a response."""
    for name, partition in service.tables.get(TABLE, {}).items():
        for key in () if name.startswith("gate") else partition.keys:
            if not key.startswith("usage|"):
                yield f"{name} {key}"
