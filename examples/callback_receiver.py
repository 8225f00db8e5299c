"""Receive callbacks: verify each, answer at once, and take none twice.

pip install standardwebhooks; SECRET (whsec_...) and, if you like, PORT come from the environment. Ask for a callback
by "callback_url": "http://127.0.0.1:PORT/callback" (in a deployment, https and a public name).
"""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["SECRET"])
seen: set[str] = set()  # in a database, if you have more than one process


class Receiver(BaseHTTPRequestHandler):
    """Takes callbacks on every path."""

    def do_POST(self) -> None:
        """Verify the raw body: 204 if it is ours, 400 if not, and then it is not read."""
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
        """Say nothing of each request."""


with ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "0"))), Receiver) as server:
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
