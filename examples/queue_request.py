"""Ask by queue, without HTTP: put a request on `requests`, and read its event from a reply queue.

pip install azure-storage-queue; STORAGE (a connection string of the app's storage account), REPLY_TO (a queue that
REPLY_QUEUES of the app allows) and, if you like, MODEL come from the environment.
"""

import contextlib
import json
import os
import time
import uuid

from azure.core.exceptions import ResourceExistsError
from azure.storage.queue import QueueClient, TextBase64DecodePolicy, TextBase64EncodePolicy

storage, reply_to = os.environ["STORAGE"], os.environ["REPLY_TO"]
requests = QueueClient.from_connection_string(storage, "requests", message_encode_policy=TextBase64EncodePolicy())
replies = QueueClient.from_connection_string(storage, reply_to, message_decode_policy=TextBase64DecodePolicy())
with contextlib.suppress(ResourceExistsError):
    replies.create_queue()

mine = str(uuid.uuid4())
message = {
    "request": {"model": os.environ.get("MODEL", "sim-5s"), "input": "Why do long calls break?"},
    "reply_to": reply_to,
    "correlation_id": mine,  # comes back on the event
    "id": mine,  # to send the message twice is then to ask once
}
requests.send_message(json.dumps(message))

event = None
while event is None:
    for found in replies.receive_messages(visibility_timeout=5):
        told = json.loads(found.content)
        if told.get("correlation_id") == mine:  # others' come into sight again for others
            event = told
            replies.delete_message(found)
    time.sleep(1)
response = event["data"]  # of an event over 48 KiB only the id: then GET /responses/{id}
texts = [part["text"] for item in response["output"] for part in item.get("content", [])]
print(event["type"], *texts)
