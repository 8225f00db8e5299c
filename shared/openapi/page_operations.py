"""The operations of the page /console: its files, for a browser, and what only the page asks. Pure."""

from shared.openapi import faults, parameters
from shared.openapi.operation import Answer, Operation, answer

HTML = "text/html"
FILES = ("text/css", "text/javascript", "image/svg+xml", HTML)
_CACHED = {"ETag": "ETag", "Cache-Control": "CacheControl"}
_SAME = Answer(304, "`If-None-Match` names this version.", headers=_CACHED)

PAGE = (
    Operation(
        "console",
        "GET",
        "/console",
        "Return a page that shows responses, for people",
        (Answer(200, "The page.", {HTML: "Text"}, _CACHED), _SAME),
        faults.PAGE,
        (parameters.IF_NONE_MATCH,),
        is_public=True,
        is_at_root=True,
    ),
    Operation(
        "console_file",
        "GET",
        "/console/files/{name}",
        "Return a file of the page",
        (Answer(200, "The file.", dict.fromkeys(FILES, "Text"), _CACHED), _SAME),
        (*faults.PAGE, *faults.FILE),
        (parameters.PATH["file"], parameters.IF_NONE_MATCH),
        is_public=True,
        is_at_root=True,
    ),
    Operation(
        "console_caller",
        "GET",
        "/console/caller",
        "Tell whose the API key is",
        (answer("Caller", "The caller."),),
        faults.PAGE,
        is_at_root=True,
    ),
)
