#!/usr/bin/env bash
# The Python libraries of Standard Webhooks and Svix sign another time than the one they are given, if its zone is not UTC.
#
# Seen with:  standardwebhooks 1.1.0 and svix 2.9.1, on 2026-12-01.
# Expected:   two aware datetimes of one instant are equal, so `sign` returns one signature for both. The header
#             `webhook-timestamp` has that instant in unix seconds (Standard Webhooks, "Signature scheme").
# Seen:       the zone is replaced with UTC and the hour is kept. A signature that was made with 14:00+02:00 holds for
#             14:00 UTC, and `verify` of the same library refuses it.
# Matters to: senders whose clock is `datetime.now(ZoneInfo(...))`. Every receiver refuses all of their events.
#
# Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
    standardwebhooks==1.1.0 svix==2.9.1

"$folder/venv/bin/python" - <<'PYTHON'
import base64
import sys
from datetime import datetime, timedelta, timezone

import standardwebhooks
import svix.webhooks

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
BODY = '{"type": "response.completed"}'


def is_accepted(library, at):
    """Sign an event of that time, and verify it with the same library."""
    hook = library.Webhook(SECRET)
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": hook.sign("evt_1", at, BODY),
    }
    try:
        hook.verify(BODY, headers)
    except library.WebhookVerificationError as error:
        print(f"{library.__name__:16} {at.tzname():10} refused: {error}")
        return False
    print(f"{library.__name__:16} {at.tzname():10} accepted")
    return True


now = datetime.now(timezone.utc).replace(microsecond=0)
zoned = now.astimezone(timezone(timedelta(hours=2)))
assert now == zoned
seen = [(is_accepted(one, now), is_accepted(one, zoned)) for one in (standardwebhooks, svix.webhooks)]
is_so = seen == [(True, False)] * 2
print("as described" if is_so else "the behaviour has changed")
sys.exit(not is_so)
PYTHON
