"""The tables of docs/clients.md, made from what the tests expect: `python -m tests.clients.table` writes them."""

from collections.abc import Sequence

from local.stack.process import ROOT
from tests.clients.table.cells import Cell
from tests.clients.table.client import DIRECT, TELLING, Client

PAGE = ROOT / "docs" / "clients.md"
COLUMNS = {
    "queued": "queued",
    "failed": "failed",
    "failed_stream": "failed in a stream",
    "incomplete": "ended early",
    "incomplete_stream": "ended early in a stream",
    "cut": "a cut stream",
    "impatient": "longer than its time-out",
}


def written(text: str, clients: Sequence[Client]) -> str:
    """Return the text of a page with the tables of these clients between its marks."""
    for name, table in {"service": _service(clients), "directly": _directly(clients)}.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, after = text.split(begin, maxsplit=1)[0], text.split(end)[1]
        text = f"{before}{begin}{table}{end}{after}"
    return text


def _service(clients: Sequence[Client]) -> str:
    rows = [[one.name, one.version, *(_shown(one, case) for case in TELLING)] for one in clients]
    return _table(["client", "version", *(COLUMNS[case] for case in TELLING)], rows)


def _directly(clients: Sequence[Client]) -> str:
    """Return the cells that differ from those through the service. One row has all clients with the same ones."""
    rows: dict[tuple[str, str, str], list[Client]] = {}
    for case in DIRECT:
        for one in clients:
            ours, bare = _shown(one, case), _shown_directly(one, case)
            if ours != bare:
                rows.setdefault((COLUMNS[case], ours, bare), []).append(one)
    return _table(
        ["case", "clients", "through the service", "directly"],
        [[case, _names(some, clients), ours, bare] for (case, ours, bare), some in rows.items()],
    )


def _names(some: Sequence[Client], clients: Sequence[Client]) -> str:
    """Return the names of some clients, or of the others if those are fewer."""
    others = [one for one in clients if one not in some]
    if len(others) >= len(some):
        return ", ".join(f"{one.name} {one.version}" for one in some)
    return f"all but {_names(others, clients)}" if others else "all"


def _shown(client: Client, case: str) -> str:
    return _with_works(client.shows[case], client.work_count(case))


def _shown_directly(client: Client, case: str) -> str:
    return _with_works(client.direct_cell(case), client.direct_work_count(case))


def _with_works(cell: Cell, count: int) -> str:
    return cell.words if count < 2 else f"{cell.words}, and {count} jobs"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], f"|{'---|' * len(head)}", *lines[1:], ""])
