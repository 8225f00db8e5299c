"""The health of the upstreams: what the calls of this process have shown, and what the gates tell of all processes.

While a gate is closed, one probe an interval meets the upstream, in one of all processes. So the calls of a process
show too little of an outage, and the gates decide. The heartbeat looks at them once a minute. Nothing is read here.
"""

import asyncio
from collections.abc import Sequence

from shared.core.errors import Unavailable, UpstreamUnavailable
from shared.gates.gates import Shut
from shared.runtime.ports import Ports
from shared.upstreams.health import TROUBLE, Sight, UpstreamState
from shared.upstreams.routes import Route


def sights(ports: Ports) -> dict[str, Sight]:
    """Return how each upstream of the settings was last seen, by its name.

    It is down while a gate of it, or of one of its models, is closed because it cannot be reached, answers with errors,
    or refuses the credentials.
    """
    shut = {gate.name.partition("/")[0]: gate for gate in ports.gates.shut() if gate.reason in TROUBLE}
    return {
        route.spec.name: _with_gate(route.upstream.sight(), shut.get(route.spec.name))
        for route in ports.upstreams.routes
    }


def _with_gate(seen: Sight, gate: Shut | None) -> Sight:
    if gate is None or seen.state is UpstreamState.DOWN:
        return seen
    since_s, detail = gate.since_ms / 1000, "its gate is closed"
    if seen.reason == gate.reason:  # the calls of this process tell more
        since_s, detail = min(since_s, seen.since_s or since_s), seen.detail
    return Sight(UpstreamState.DOWN, since_s, gate.reason, detail)


async def check_credentials(ports: Ports) -> None:
    """Raise Unavailable if there are no credentials for any upstream.

    With those for one of them, responses are accepted. Those of another upstream wait, and say so.
    """
    routes = ports.upstreams.routes
    checks = [asyncio.create_task(_failure(route)) for route in routes]
    failure = None
    try:
        for check in asyncio.as_completed(checks):
            if (failure := await check) is None:
                return
    finally:
        for one in checks:
            one.cancel()
    raise Unavailable(f"There is no credential for {_named(routes)}.") from failure


async def _failure(route: Route) -> UpstreamUnavailable | None:
    try:
        await route.upstream.check()
    except UpstreamUnavailable as error:
        return error
    return None


def _named(routes: Sequence[Route]) -> str:
    names = [f"'{route.spec.name}'" for route in routes]
    return f"the upstream {names[0]}" if len(names) == 1 else f"any of the upstreams {', '.join(names)}"
