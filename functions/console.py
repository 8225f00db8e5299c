"""HTTP triggers of the console: a page to look at, for people. It has no rights but those of the key that is typed in.

The page is a few files without a build step. They are read with the first request for one, so a cold start reads none.
The policy lets the page load nothing from elsewhere, and lets it make no markup from text.
https://www.w3.org/TR/CSP3/
"""

from functools import cache
from pathlib import Path

from azurefunctions.extensions.http.fastapi import Request, Response

from functions.answers import Answer, as_json, for_anyone, for_callers
from functions.versioned import Versioned, as_version, versioned
from shared.bootstrap import service
from shared.contract.callers import Caller
from shared.core.errors import NotFound
from shared.engine import Engine

PAGES = Path(__file__).parent / "pages"
PAGE = "console.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "Cache-Control": "no-cache",  # asked for each time, and answered by 304 as long as it is the same
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


async def console(req: Request) -> Response:
    """GET /console. Raises NotFound where the setting CONSOLE is off."""
    await _check_on()
    if req.url.path.endswith("/"):  # from there, the names of the page's files would lead elsewhere
        return Response(status_code=308, headers={"Location": "../console"})
    return sent(req, PAGE)


async def console_file(req: Request) -> Response:
    """GET /console/files/{name}. Raises NotFound for a name that is no file of the page."""
    await _check_on()
    return sent(req, req.path_params["name"])


async def console_caller(_engine: Engine, caller: Caller, _req: Request) -> Response:
    """GET /console/caller: who the key belongs to, and whether that is an operator."""
    await _check_on()
    return as_json({"object": "caller", "name": caller.name, "role": "operator" if caller.is_operator else None})


async def _check_on() -> None:
    if not (await service()).console:
        raise NotFound("The console is switched off here. The setting CONSOLE switches it on.", code="console_off")


def sent(req: Request, name: str) -> Response:
    """Return a file of the page, or 304 if the client has this version. Raises NotFound for another name."""
    file = files().get(name)
    if file is None:
        raise NotFound(f"Unknown file '{name[:100]}'.")
    return as_version(req, file, HEADERS)


@cache
def files(folder: Path = PAGES) -> dict[str, Versioned]:
    """Return the files of the page by name. They are read once for each process."""
    found = (path for path in sorted(folder.iterdir()) if path.suffix in TYPES)
    return {path.name: versioned(path.read_bytes(), TYPES[path.suffix]) for path in found}


ROUTES: tuple[tuple[str, str, Answer], ...] = (
    ("console", "console", for_anyone(console)),
    ("console_caller", "console/caller", for_callers(console_caller)),
    ("console_file", "console/files/{name}", for_anyone(console_file)),
)
"""The name of each function, its path and its handler. All are GET."""
