"""Run the simulated model: `python -m local.model --port 8123`."""

import argparse
import os
import time

from local.model.app import create_app
from local.model.connection import CuttableProtocol
from local.model.faults import Faults, Switches
from local.model.simulation import Simulation
from local.model.webhooks import Endpoint, Webhooks
from local.stack.loopback import serve

BANNER = "simulated model listening on http://127.0.0.1:{port}/v1"


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(prog="local.model", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 (default) takes a free one")
    parser.add_argument("--api-key", default=os.environ.get("SIM_API_KEY"), help="calls without it are refused")
    parser.add_argument("--ignore-idempotency", action="store_true", help="start one response per create call")
    parser.add_argument("--faults", default="{}", help="switches as JSON, such as '{\"create_latency_s\": 0.3}'")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random faults")
    parser.add_argument("--webhook-url", help="where events about the end of background work are sent")
    parser.add_argument("--webhook-secret", help="whsec_... that those events are signed with")
    given = parser.parse_args()
    if bool(given.webhook_url) != bool(given.webhook_secret):
        parser.error("--webhook-url and --webhook-secret go together")
    return given


def main() -> None:
    """Serve until a signal stops the process."""
    given = arguments()
    switches = Switches.model_validate_json(given.faults)
    switches.ignore_idempotency |= given.ignore_idempotency
    simulation = Simulation(unix_offset_s=time.time() - time.monotonic())
    faults = Faults(switches, given.seed)
    endpoint = Endpoint(given.webhook_url, given.webhook_secret) if given.webhook_url else None
    app = create_app(simulation, faults, Webhooks(endpoint, faults), given.api_key)
    serve(app, given.port, BANNER, http=CuttableProtocol)


if __name__ == "__main__":
    main()
