"""The Functions app: every trigger, registered."""

import azure.functions as func

from functions import http, queues

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
app.register_functions(http.blueprint)
app.register_functions(queues.blueprint)
