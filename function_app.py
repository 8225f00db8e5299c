"""The Functions app, with all triggers registered."""

import logging

import azure.functions as func

from functions import http, queues
from shared.bootstrap import start_telemetry

for chatty in ("azure", "httpx", "httpcore", "openai", "agent_framework"):
    logging.getLogger(chatty).setLevel(logging.WARNING)  # at INFO they log every call with its URL

start_telemetry()
app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(http.blueprint)
app.register_functions(queues.blueprint)
