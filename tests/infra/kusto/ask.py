"""Asks queries of rows. It runs in an environment of its own, and reads and writes JSON.

Input: {"tables": {NAME: {COLUMN: TYPE}}, "rows": {NAME: [{COLUMN: VALUE}]}, "queries": {NAME: TEXT}}.
Output: {NAME: [{COLUMN: VALUE}]}.
"""

import json
import sys
from typing import Any

import duckdb_kql

TYPES = {"datetime": "TIMESTAMP", "string": "VARCHAR", "int": "INTEGER", "real": "DOUBLE", "dynamic": "JSON"}


def filled(tables: dict[str, dict[str, str]], rows: dict[str, list[dict[str, Any]]]) -> Any:
    """Return a connection to a database in memory that has the rows. What a row lacks is null."""
    connection = duckdb_kql.connect()
    for name, columns in tables.items():
        typed = ", ".join(f'"{column}" {TYPES[kind]}' for column, kind in columns.items())
        connection.execute(f'CREATE TABLE "{name}" ({typed})')
        places = ", ".join("?" for _ in columns)
        for row in rows.get(name, []):
            connection.execute(f'INSERT INTO "{name}" VALUES ({places})', [row.get(column) for column in columns])
    return connection


def main() -> None:
    """Read the input, and write what each query finds."""
    given = json.load(sys.stdin)
    connection = filled(given["tables"], given["rows"])
    found = {}
    for name, text in given["queries"].items():
        result = duckdb_kql.kql(connection, text)
        columns = [column[0] for column in result.description]
        found[name] = [dict(zip(columns, row, strict=True)) for row in result.fetchall()]
    json.dump(found, sys.stdout, default=str)


if __name__ == "__main__":
    main()
