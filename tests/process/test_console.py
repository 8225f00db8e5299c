"""The console over HTTP: what it is served with, and that it is off unless the setting says otherwise."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from functions.console import HEADERS, files
from local.azurite import Azurite
from tests.support.peer_processes import error_of
from tests.support.service_process import Service, service


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service with the console."""
    with service(tmp_path_factory.mktemp("console"), azurite.account(), CONSOLE="true") as running:
        yield running
        assert running.unexpected() == []


@pytest.mark.parametrize("name", ["", *(f"/files/{name}" for name in files())])
def test_a_file_of_the_page_is_served_with_its_policy(running: Service, name: str) -> None:
    """Each has its type, an ETag by which a second request gets a 304, and the headers that keep the page in."""
    answer = running.stranger().get(f"/console{name}")
    file = files()[name.rpartition("/")[2] or "console.html"]
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, file.body, file.kind)
    assert {header: answer.headers[header] for header in HEADERS} == HEADERS
    again = running.stranger().get(f"/console{name}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", file.tag)
    assert again.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]


def test_a_name_that_is_no_file_is_a_404(running: Service) -> None:
    """Also one that would lead out of the folder."""
    for name in ("nothing.js", "..%2f..%2fconsole.py", "%2e%2e", "__init__.py"):
        assert error_of(running.stranger().get(f"/console/files/{name}"))[0] == 404


def test_a_slash_behind_the_address_leads_to_the_page(running: Service) -> None:
    """From there, the names of its files would lead elsewhere."""
    answer = running.stranger().get("/console/")
    assert (answer.status_code, answer.headers["location"]) == (308, "../console")
    assert running.stranger().get("/console/", follow_redirects=True).status_code == 200


def test_a_key_says_whose_it_is(running: Service) -> None:
    """The page shows the name, and offers the view of operators to those alone."""
    answer = running.client(base="console").get("/caller")
    assert answer.json() == {"object": "caller", "name": "first", "role": None}
    assert error_of(running.stranger().get("/console/caller"))[0] == 401


def test_it_is_off_unless_the_setting_is_on(azurite: Azurite, tmp_path: Path) -> None:
    """Then the page is an error in the contract's shape, whoever asks."""
    with service(tmp_path, azurite.account()) as without:
        for path in ("/console", "/console/files/main.js"):
            assert error_of(without.stranger().get(path)) == (404, None, "console_off")
        assert error_of(without.client(base="console").get("/caller")) == (404, None, "console_off")
