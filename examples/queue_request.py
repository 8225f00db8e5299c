"""Start a response without HTTP: put a request on the queue `requests`, and read its event from a reply queue.

pip install azure-storage-queue. Set STORAGE (a connection string of the app's storage account), REPLY_TO (a queue that
the app's REPLY_QUEUES allows) and optionally MODEL in the environment.
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
    "correlation_id": mine,  # repeated on the event
    "id": mine,  # a message that is sent twice then starts one response
}
requests.send_message(json.dumps(message))

event = None
while event is None:
    for found in replies.receive_messages(visibility_timeout=5):
        told = json.loads(found.content)
        if told.get("correlation_id") == mine:  # other events become visible to their readers again
            event = told
            replies.delete_message(found)
    time.sleep(1)
response = event["data"]  # an event over 48 KiB has only the id, so GET /responses/{id}
texts = [part["text"] for item in response["output"] for part in item.get("content", [])]
print(event["type"], *texts)
