"""Faults to plant in the workbook, and in what it is given."""

from tests.infra.fault import Mutant, path_of


def _mutants() -> list[Mutant]:
    rows = [
        # what it is
        ("workbook-elsewhere", "workbook", "fallbackResourceIds: [workspaceId]", "fallbackResourceIds: [location]", "workbook"),
        ("workbook-nameless", "main", "name: 'Background Responses: ${environmentName}'", "name: 'Background Responses'", "workbook"),
        ("workbook-lost", "main", "module workbook 'modules/workbook.bicep' = {", "module workbook 'modules/workbook.bicep' = if (zoneRedundant) {", "workbook", ("default",)),
        ("chart-lost", "workbook", "id: 'turns'", "id: 'turn'", "workbook"),
        ("no-time-range", "workbook", "        text\n        range\n", "        range\n        text\n", "workbook"),
        ("optional-range", "workbook", "isRequired: true", "isRequired: false", "workbook"),
        ("workbook-of-one-user", "workbook", "kind: 'shared'", "kind: 'user'", "enums"),
        ("workbook-for-a-name", "workbook", "guid(resourceGroup().id, insightsName, 'workbook')", "'workbook'", "names"),
        ("no-data", "workbook", "serializedData: string({", "serializedData: any({", "workbook"),
        # how it is shown
        ("short-look", "workbook", "(responseDeadlineS + 3600) * 1000", "responseDeadlineS * 1000", "shown"),
        ("other-deadline", "main", "    responseDeadlineS: responseDeadlineS\n    prices: prices", "    responseDeadlineS: 3600\n    prices: prices", "shown"),
        ("now-and-then", "workbook", "timeContextFromParameter: 'range'", "timeContextFromParameter: 'time'", "shown"),
        ("drawn-otherwise", "workbook", "visualization: 'timechart'", "visualization: 'table'", "shown"),
        ("asks-insights", "workbook", "crossComponentResources: [workspaceId]", "crossComponentResources: [resourceGroup().id]", "shown"),
        ("fixed-points", "workbook", "bin(TimeGenerated, {range:grain})", "bin(TimeGenerated, 5m)", "shown"),
        ("no-title", "workbook", "title: panel.title", "title: ''", "shown"),
        # what it asks for
        ("unknown-end", "workbook", "'response.incomplete'", "'response.partial'", "queries"),
        ("end-lost", "workbook", "  'response.withdrawn'\n", "", "queries"),
        ("gate-event-lost", "workbook", "  'gate.unaudited'\n", "", "queries"),
        ("unknown-gate-event", "workbook", "'gate.mended'", "'gate.repaired'", "queries"),
        ("unknown-gate-member", "workbook", "tolong(line.waiting)", "tolong(line.in_line)", "queries"),
        ("unknown-measure", "workbook", "'background_responses.accepted'", "'background_responses.taken'", "queries"),
        ("unknown-member", "workbook", "line.waits_for", "line.waitsfor", "queries"),
        ("unknown-attribute", "workbook", "Properties.status", "Properties.state", "queries"),
        ("unknown-delivery", "workbook", "State == \"delivered\"", "State == \"done\"", "queries"),
        ("state-lost", "workbook", "(\"failed\", \"gone\", \"blocked\")", "(\"failed\", \"gone\")", "queries"),
        ("rows-counted", "workbook", "summarize Tries = sum(ItemCount)", "summarize Tries = count()", "queries"),
        ("own-requests", "workbook", "AppRoleName != ", "AppRoleName == ", "queries"),
        ("lines-unparsed", "workbook", "query: '${lines} | where event == \"response.failed\"", "query: 'AppTraces | where event == \"response.failed\"", "queries"),
        ("charts-of-all-apps", "workbook", "ofOne(panel.query, resourceId('Microsoft.Insights/components', insightsName))", "panel.query", "compiles"),
        ("alerts-of-all-apps", "alerts", "ofOne(rule.query, resourceId('Microsoft.Insights/components', insightsName))", "rule.query", "compiles"),
        ("one-table-of-all-apps", "alerts", "['AppTraces', 'AppMetrics', ", "['AppTraces', ", "alerts"),
        ("another-insights", "main", "    workspaceId: monitoring.outputs.workspaceId\n    insightsName: names.insights\n    modelAccountName", "    workspaceId: monitoring.outputs.workspaceId\n    insightsName: names.app\n    modelAccountName", "alerts"),
        ("other-signals", "alerts", "deferred: ['start.deferred', ", "deferred: ['look.deferred', ", "queries"),
    ]  # fmt: skip
    return [Mutant(name, path_of(module), *rest) for name, module, *rest in rows]  # type: ignore[arg-type]


WORKBOOK_FAULTS = _mutants()
