"""The queries of the kept deployments, the tables that they ask, and the two programs that take them."""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.infra.alerts import QUERY
from tests.infra.project import VARIANTS
from tests.infra.workbook import GRAIN, WORKBOOK
from tests.support.environments import need

HERE = Path(__file__).parent
KEPT = HERE.parent / "variants"
DEADLINE_S = 120
OF_ONE = re.compile(r'_ResourceId =~ "([^"]+)"')
Row = dict[str, Any]
# The columns that are asked for: https://learn.microsoft.com/azure/azure-monitor/reference/tables/apptraces, and so on.
TABLES = {
    "AppTraces": {
        "TimeGenerated": "datetime",
        "Message": "string",
        "ItemCount": "int",
        "_ResourceId": "string",
        "_BilledSize": "real",
    },
    "AppMetrics": {
        "TimeGenerated": "datetime",
        "Name": "string",
        "Sum": "real",
        "Min": "real",
        "Max": "real",
        "ItemCount": "int",
        "Properties": "dynamic",
        "_ResourceId": "string",
        "_BilledSize": "real",
    },
    "AppDependencies": {"TimeGenerated": "datetime", "Name": "string", "_ResourceId": "string", "_BilledSize": "real"},
    "AppRequests": {
        "TimeGenerated": "datetime",
        "Name": "string",
        "Url": "string",
        "ResultCode": "string",
        "DurationMs": "real",
        "AppRoleName": "string",
        "ItemCount": "int",
        "_ResourceId": "string",
        "_BilledSize": "real",
    },
}


def alerts(variant: str) -> dict[str, Row]:
    """Return the condition of each alert of a kept deployment, by the alert's name."""
    return {
        one["name"].split("-", 2)[2]: one["properties"]["criteria"]["allOf"][0]
        for one in _resources(variant)
        if one["type"] == QUERY
    }


def charts(variant: str) -> dict[str, Row]:
    """Return each chart of a kept deployment's workbook. Its query has points of five minutes."""
    (found,) = (one for one in _resources(variant) if one["type"] == WORKBOOK)
    items = json.loads(found["properties"]["serializedData"])["items"]
    every = {item["name"]: item["content"] for item in items if item["type"] == 3}
    return {name: {**one, "query": one["query"].replace(GRAIN, "5m")} for name, one in every.items()}


def every_query() -> dict[str, str]:
    """Return the queries of all kept deployments, each once, by a name that says where it is from."""
    named = {
        one["query"]: f"{variant}: {name}"
        for variant in VARIANTS
        for name, one in (*alerts(variant).items(), *charts(variant).items())
    }
    return {name: query for query, name in named.items()}


def _resources(variant: str) -> list[Row]:
    found: list[Row] = json.loads((KEPT / f"{variant}.snapshot.json").read_text(encoding="utf-8"))["resources"]
    return found


def analyzed(queries: Mapping[str, str]) -> dict[str, Row]:
    """Return what Microsoft's language service says of each query: its `complaints`, and the result's `columns`."""
    schemas = {name: ", ".join(f"{column}: {kind}" for column, kind in one.items()) for name, one in TABLES.items()}
    command = ["node", str(HERE / "analyze.js"), str(need("kusto-language"))]
    return _run(command, {"tables": schemas, "queries": dict(queries)})


def asked(rows: Mapping[str, list[Row]], queries: Mapping[str, str]) -> dict[str, list[Row]]:
    """Return the rows that each query finds in rows of the tables. A construct that is not understood is an error.

    A row is of the app that the queries are about, unless its `_ResourceId` names another one.
    """
    (app,) = {one for query in queries.values() for one in OF_ONE.findall(query)}
    own = {name: [{"_ResourceId": app, **row} for row in some] for name, some in rows.items()}
    command = [str(need("kusto") / "bin" / "python"), str(HERE / "ask.py")]
    return _run(command, {"tables": TABLES, "rows": own, "queries": dict(queries)})


def _run(command: list[str], given: Row) -> dict[str, Any]:
    done = subprocess.run(
        command, input=json.dumps(given), capture_output=True, text=True, check=False, timeout=DEADLINE_S
    )
    if done.returncode:
        raise ValueError(done.stderr[-2_000:])
    found: dict[str, Any] = json.loads(done.stdout)
    return found
