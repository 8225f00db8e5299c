"""Receive callbacks: verify each one, answer at once, and handle none twice.

pip install standardwebhooks. Set SECRET (whsec_...) and optionally PORT in the environment. Ask for a callback with
"callback_url": "http://127.0.0.1:PORT/callback". A deployment needs https and a public name.
"""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["SECRET"])
seen: set[str] = set()  # use a database if you have more than one process


class Receiver(BaseHTTPRequestHandler):
    """Accepts callbacks on every path."""

    def do_POST(self) -> None:
        """Verify the raw body. Answer 204 if the signature is valid, and 400 without reading the event if not."""
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        try:
            event = webhook.verify(body, dict(self.headers.items()))
        except (WebhookVerificationError, ValueError) as error:
            print("refused:", error, flush=True)
            self._answer(400)
            return
        self._answer(204)
        if (webhook_id := self.headers["webhook-id"]) not in seen:  # a repeat has the same id
            seen.add(webhook_id)
            print(event["type"], json.dumps(event["data"]["id"]), flush=True)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Do not log requests."""


with ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "0"))), Receiver) as server:
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
