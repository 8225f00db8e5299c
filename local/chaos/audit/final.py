"""The audit from outside: HTTP, the receivers, the counts of the upstreams, the queues and the logs of the hosts."""

import time
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

from azure.storage.queue import QueueServiceClient

from local.chaos.audit.queued import QueuedRequests
from local.chaos.load.clients import Clients
from local.chaos.load.expected import expected_status, expected_text
from local.chaos.load.ledger import Json, Ledger
from local.chaos.load.queue_sender import correlation
from local.chaos.plan import HOSTS, Style
from local.chaos.world.fleet import Life
from local.chaos.world.site import LIMIT, Site
from local.responses import TERMINAL, output_text

MEGABYTE = 1 << 20
WARM_S = 30.0  # after which a host has loaded everything
GROWTH_MB = 64
MOST_MB = 400
TOKENS = ("input_tokens", "output_tokens")


class Audit:
    """Checks everything that can be seen from outside, and counts what is no fault: repeats."""

    def __init__(self, site: Site, clients: Clients, ledger: Ledger, queued: QueuedRequests) -> None:
        self._site, self._clients, self._ledger, self._queued = site, clients, ledger, queued
        self.repeats = Counter[str]()
        self.responses = dict[str, Json]()

    async def read(self) -> None:
        """Read every response that there is, at every host, and the events on the reply queue."""
        listed = await self._listed()
        known = {*self._ledger.promises, *listed} - self._ledger.deleted
        self._ledger.check("every accepted response is listed", known <= listed, sorted(known - listed)[:5])
        for number, response_id in enumerate(sorted(known)):
            hosts = range(HOSTS) if number % 5 == 0 else [number]
            for host in hosts:
                await self._read(response_id, host)
        self.responses |= {one: self._ledger.ended[one] for one in self._ledger.deleted & self._ledger.ended.keys()}
        self._check_replies(len(self._queued.unanswered()) <= self._queued.kept())

    async def _listed(self) -> set[str]:
        found, after = set[str](), ""
        while True:
            path = f"/responses?limit=100{after and f'&after={after}'}"
            page = (await self._clients.ask("GET", path)).json()
            found |= {item["id"] for item in page["data"]}
            if not page["has_more"]:
                return found
            after = page["next_after"]

    async def _read(self, response_id: str, host: int) -> None:
        answer = await self._clients.ask("GET", f"/responses/{response_id}", host=host)
        if not self._ledger.check("an accepted response is found", answer.status_code == 200, response_id):
            return
        found = answer.json()
        self._ledger.saw(found)
        self.responses[response_id] = found
        is_over = found["status"] in TERMINAL
        self._ledger.check("every accepted response ends", is_over, f"{response_id}: {found['status']}")
        if is_over and (promise := self._ledger.promises.get(response_id)):
            told = f"{response_id}: {found['status']} {output_text(found)!r} {found.get('error')}"
            is_right = promise.status in (None, found["status"])
            self._ledger.check("every response ends as it must", is_right, f"{told}, not {promise.status}")
            is_right = promise.text is None or promise.text == output_text(found)
            self._ledger.check("every response has the right text", is_right, f"{told}, not {promise.text!r}")

    def _check_replies(self, are_kept: bool) -> None:
        """Check the answers of queued requests. With `are_kept`, those without one are on their queue."""
        by_call = defaultdict[str, list[Json]](list)
        for event in self._queued.events:
            by_call[str(event.get("correlation_id"))].append(event)
        for call in self._site.plan.calls:
            if call.style is not Style.QUEUED:
                continue
            got = by_call[correlation(call)]
            ids = {(event["id"], event["data"]["id"]) for event in got}
            is_right = len(ids) == 1 or (are_kept and not ids)
            self._ledger.check("every queued request has one answer", is_right, f"{correlation(call)}: {ids}")
            for event in got:
                said, text = event["data"], expected_text(call)
                is_right = said["status"] == expected_status(call) and text in (None, output_text(said))
                self._ledger.check("a queued request has the right answer", is_right, correlation(call))
            self.repeats["reply repeated"] += max(0, len(got) - 1)

    async def check_usage(self) -> None:
        """Check that the sums are those of the responses, each counted once."""
        since = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
        total = (await self._clients.ask("GET", f"/usage?from={since}")).json()["total"]
        ended = [one for one in self.responses.values() if one["status"] in TERMINAL]
        counted = total["responses"]
        self._ledger.check("usage counts each response once", counted == len(ended), f"{counted}, not {len(ended)}")
        for name in TOKENS:
            told = sum((one.get("usage") or {}).get(name, 0) for one in ended)
            self._ledger.check("usage sums are right", total[name] == told, f"{name}: {total[name]}, not {told}")

    def check_callbacks(self) -> None:
        """Check the callbacks of every response that asked for one."""
        by_response = defaultdict[str, list[Json]](list)
        for receiver in self._site.receivers.values():
            for one in receiver.ask("/_received"):
                by_response[str(one["response_id"])].append(one)
        for response_id, promise in self._ledger.promises.items():
            if promise.call.receiver and response_id in self.responses:
                self._check_callbacks_of(response_id, by_response[response_id])
        strangers = by_response.keys() - self.responses.keys()
        self._ledger.check("no callback about anything else", not strangers, sorted(strangers)[:5])

    def _check_callbacks_of(self, response_id: str, got: list[Json]) -> None:
        status = self.responses[response_id]["status"]
        accepted = [one for one in got if one["answered"] < 300]
        self._ledger.check("every end is called back", bool(accepted), f"{response_id}: {len(got)} attempts")
        ids = {one["webhook_id"] for one in got}
        self._ledger.check("one webhook-id for all attempts", len(ids) <= 1, f"{response_id}: {sorted(ids)}")
        is_signed = all(one["verified"] for one in got)
        self._ledger.check("every signature is good", is_signed, response_id)
        kinds = {one["type"] for one in got} - {f"response.{status}"}
        self._ledger.check("a callback tells the end", not kinds, f"{response_id} is {status}: {sorted(kinds)}")
        self.repeats["callback repeated after a 2xx"] += max(0, len(accepted) - 1)
        self.repeats["callback attempts refused"] += len(got) - len(accepted)

    def check_upstreams(self) -> None:
        """Check what the upstreams have counted: no work twice, none without a response, and never above the limit."""
        self.repeats["most at work at the limited upstream"] = check_limit(self._site, self._ledger)
        for name, model in self._site.models.items():
            stats = model.ask("/_sim/stats")
            for key, times in stats["started"].items():
                self._ledger.check("work is begun once", times == 1, f"{name}: {key} {times} times")
                self._ledger.check("no work without a response", key in self.responses, f"{name}: {key}")
            self.repeats[f"creates repeated, {name}"] += stats["asked_twice"]

    def check_queues(self) -> None:
        """Check that no message was given up."""
        with QueueServiceClient.from_connection_string(self._site.connection) as queues:
            for found in queues.list_queues():
                if str(found.name).endswith("-poison"):
                    with queues.get_queue_client(found) as queue:
                        left = queue.get_queue_properties().approximate_message_count
                    self._ledger.check("no poison message", not left, f"{found.name}: {left}")

    def check_hosts(self) -> None:
        """Check the logs of the hosts, and that their memory does not grow."""
        for host in self._site.hosts:
            lines = host.unexpected()
            self._ledger.check("no unexpected log line", not lines, lines[:3])
            for life in host.lives:
                _check_memory(self._ledger, life)


def check_limit(site: Site, ledger: Ledger) -> int:
    """Check that the upstream with a limit has never worked on more, and return the most that it has worked on."""
    most = int(site.models["gated"].ask("/_sim/stats")["most_at_once"])
    ledger.check("never more than the limit at work", most <= LIMIT, f"{most}, not {LIMIT}")
    return most


def _check_memory(ledger: Ledger, life: Life) -> None:
    """Check a process: after its first 30 s, the memory of its second half is not above that of the first."""
    if not life.samples:
        return
    most = max(used for _, used in life.samples) / MEGABYTE
    ledger.check("memory of a host is bounded", most <= MOST_MB, f"process {life.pid}: {most:.0f} MB")
    warm = [used / MEGABYTE for at_s, used in life.samples if at_s > life.samples[0][0] + WARM_S]
    if len(warm) >= 10:
        half = len(warm) // 2
        grown = max(warm[half:]) - max(warm[:half])
        ledger.check("memory of a host does not grow", grown <= GROWTH_MB, f"process {life.pid}: {grown:.0f} MB")


async def redeliver(clients: Clients, ledger: Ledger, ids: list[str], deadline_s: float) -> None:
    """Begin again every delivery that is still open, and wait until each has arrived."""
    end, left = time.monotonic() + deadline_s, ids
    while left and time.monotonic() < end:
        still = list[str]()
        for response_id in left:
            listed = (await clients.ask("GET", f"/responses/{response_id}/deliveries")).json()["data"]
            if any(one["state"] != "delivered" for one in listed):
                still.append(response_id)
                await clients.ask("POST", f"/responses/{response_id}/deliveries/redeliver", body={})
        left = still
    ledger.check("every delivery arrives once its receiver answers", not left, f"{len(left)}: {left[:5]}")
    ledger.checks["deliveries begun again"] += len(ids)
