"""The Functions app, with all triggers registered."""

import azure.functions as func

from functions import http, queues
from shared.bootstrap import start_telemetry
from shared.telemetry import library_logs

library_logs.install()
start_telemetry()
app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(http.blueprint)
app.register_functions(queues.blueprint)
