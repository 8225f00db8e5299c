"""The commands of the local stack: `python -m local demo|start|new-key|rotate-secret|openapi`."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from local.credentials.keys import new_credentials
from local.credentials.rotation import rotated
from local.demo.demo import SAMPLE, demo
from local.demo.stream_demo import stream_demo
from local.stack.process import ROOT, PartError, interrupt_on_signals
from local.start.start import start
from shared.contract.signatures import is_asymmetric, public_key

INTERRUPTED = 130
GRACE_HOURS = 24.0
MAX_GRACE_HOURS = 168.0


def main() -> int:
    """Run one command and return its exit code."""
    given = _arguments().parse_args()
    interrupt_on_signals()
    try:
        given.run(given)
    except PartError as error:
        print(f"{given.command} failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0 if given.command == "start" else INTERRUPTED
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("demo", help="one background response from end to end")
    show.add_argument("file", nargs="?", type=Path, default=SAMPLE, help="a text file to submit")
    show.add_argument("--stream", action="store_true", help="stream it, cut connections, and kill the host")
    show.set_defaults(run=_demo)
    serve = commands.add_parser("start", help="the stack, until Ctrl-C, on PORT; AZURITE_DIR keeps its data")
    serve.set_defaults(run=_start)
    new_key = commands.add_parser("new-key", help="credentials of a new caller")
    new_key.add_argument("name", help="the caller's name")
    new_key.add_argument("--asymmetric", action="store_true", help="with a key that signs by ed25519, too")
    new_key.set_defaults(run=_new_key)
    rotate = commands.add_parser("rotate-secret", help="CALLERS, from input to output, with fresh signing secrets")
    rotate.add_argument("name", help="the caller's name")
    rotate.add_argument(
        "--grace-hours",
        type=float,
        default=GRACE_HOURS,
        metavar="H",
        help="how long the old secrets continue to sign, 0 to 168 (default: %(default)g)",
    )
    rotate.set_defaults(run=_rotate_secret)
    describe = commands.add_parser("openapi", help="writes docs/openapi.json, the description of the HTTP API")
    describe.set_defaults(run=_openapi)
    return parser


def _demo(given: argparse.Namespace) -> None:
    try:
        text = given.file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PartError("file", str(error)) from error
    if given.stream:
        stream_demo(text, _model("sim-12s"))
    else:
        demo(text, _model("sim-5s"))


def _model(simulated: str) -> str:
    """Return MODEL. It has a default only for the simulated model."""
    model = os.environ.get("MODEL")
    if not model and os.environ.get("UPSTREAM_BASE_URL"):
        raise PartError("settings", "UPSTREAM_BASE_URL is set: name one of its models in MODEL")
    return model or simulated


def _start(_given: argparse.Namespace) -> None:
    start()


def _new_key(given: argparse.Namespace) -> None:
    credentials = new_credentials(given.name, asymmetric=given.asymmetric)
    print(f"API key, shown only now: {credentials.api_key}")
    print(f"signing secret:          {credentials.signing_secret}")
    if credentials.private_key:
        print(f"public key to hand out:  {public_key(credentials.private_key)}")
    print(f"element for CALLERS:     {json.dumps(credentials.configuration())}")


def _rotate_secret(given: argparse.Namespace) -> None:
    if not 0 <= given.grace_hours <= MAX_GRACE_HOURS:
        raise PartError("settings", f"--grace-hours is {given.grace_hours:g}, which is not 0 to {MAX_GRACE_HOURS:g}")
    try:
        setting = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise PartError("settings", "CALLERS is not valid JSON") from error
    rotation = rotated(setting, given.name, int(time.time()), int(given.grace_hours * 3600))
    print(rotation.setting)
    for secret in rotation.fresh:
        if is_asymmetric(secret):
            print(f"new public key, for the receiver:     {public_key(secret)}", file=sys.stderr)
        else:
            print(f"new signing secret, for the receiver: {secret}", file=sys.stderr)


def _openapi(_given: argparse.Namespace) -> None:
    from functions.description import document  # noqa: PLC0415 - the other commands need no trigger

    (ROOT / "docs" / "openapi.json").write_bytes(document().body)
