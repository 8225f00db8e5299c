"""What a request to the table costs this process: through azure-data-tables, and through our client of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import cast

from azure.core.pipeline.transport import AioHttpTransport
from azure.data.tables.aio import TableClient

from local.azurite.choice import azurite
from shared.storage.table_client import Table

TIMES, ROUNDS, ROWS = 300, 3, 3


def main() -> None:
    """Print the CPU time of each kind of request, the best of three rounds in which they take turns."""
    with azurite() as storage:
        for what, cpu_ms in asyncio.run(_measured(storage.account())).items():
            print(f"{what:40}{cpu_ms:8.2f} ms")


async def _measured(connection: str) -> dict[str, float]:
    transport = AioHttpTransport(use_env_settings=False)
    table = cast("Table", Table.from_connection_string(connection, "costs", transport=transport))
    async with table:
        await table.create()
        kinds: dict[str, Callable[[int], Awaitable[object]]] = {
            "transaction of three rows, library": lambda n: TableClient.submit_transaction(table, _rows("theirs", n)),
            "transaction of three rows, ours": lambda n: table.transact(_rows("ours", n)),
            "read of a row, library": lambda n: table.get_entity("a", f"theirs {n} 0"),
            "read of a row, ours": lambda n: table.find("a", f"ours {n} 0"),
        }
        best = dict.fromkeys(kinds, float("inf"))
        for turn in range(ROUNDS):
            for what, ask in kinds.items():
                began_s = time.process_time()
                for n in range(TIMES):
                    await ask(turn * TIMES + n)
                best[what] = min(best[what], (time.process_time() - began_s) / TIMES * 1000)
    return best


def _rows(prefix: str, number: int) -> list[tuple[str, dict[str, str]]]:
    facts = {"facts": "x" * 400, "write_id": "0" * 32}
    return [("create", {"PartitionKey": "a", "RowKey": f"{prefix} {number} {row}", **facts}) for row in range(ROWS)]


if __name__ == "__main__":
    main()
