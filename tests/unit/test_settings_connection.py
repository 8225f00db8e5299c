"""The connection string of the development storage."""

import pytest
from azure.data.tables import TableServiceClient
from azure.storage.queue import QueueServiceClient

from shared.settings import expand_connection

SPELLINGS = ["UseDevelopmentStorage=true", "usedevelopmentstorage=True;", " UseDevelopmentStorage = true ; "]


@pytest.mark.parametrize("text", SPELLINGS)
def test_both_clients_reach_the_emulator(text: str) -> None:
    """The libraries read the shortcut in different ways, and only in some spellings. Both read what it stands for."""
    connection = expand_connection(text)
    with TableServiceClient.from_connection_string(connection) as tables:
        assert tables.url == "http://127.0.0.1:10002/devstoreaccount1"
    with QueueServiceClient.from_connection_string(connection) as queues:
        assert queues.url.rstrip("/") == "http://127.0.0.1:10001/devstoreaccount1"


def test_the_emulator_may_be_on_another_host() -> None:
    """As a container of a composition is."""
    connection = expand_connection("UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://azurite")
    assert "TableEndpoint=http://azurite:10002/devstoreaccount1" in connection.split(";")


@pytest.mark.parametrize(
    "text",
    ["UseDevelopmentStorage=false", "AccountName=a;AccountKey=b==;EndpointSuffix=core.chinacloudapi.cn", "nonsense"],
)
def test_any_other_string_is_left_alone(text: str) -> None:
    """The libraries read it, the endpoints of Azure's other clouds included."""
    assert expand_connection(text) == text
